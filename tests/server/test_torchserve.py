"""The real TorchServe: what clients send, what they are told, and that nobody suffers from others' requests."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import REPOSITORY
from cvforge_edge.bundle import open_bundle
from cvforge_server.client import Client, ClientError
from cvforge_server.torchserve.meters import TELL_S
from edge.conftest import build_bundle, two_squares
from edge.test_run_camera import run_camera
from server.real_server import MISSING, RealServer, free_port, lines_of, serve, wait_for

pytestmark = [pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
PNG = cv2.imencode(".png", two_squares())[1].tobytes()
BOUNDARY = "boundary"


def form(**fields: bytes | str) -> tuple[bytes, str]:
    """A multipart body: bytes as files, text as values."""
    lines = []
    for name, value in fields.items():
        file = f'; filename="{name}.png"\r\nContent-Type: image/png' if isinstance(value, bytes) else ""
        data = value if isinstance(value, bytes) else value.encode()
        lines.append(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
        )
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


def test_answers_equal_the_lines_of_the_device(server, tmp_path):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.roll(two_squares(), -16 * i, axis=1))
    bundle = server.folder / "detector"
    ran = run_camera("--bundle", bundle, "--source", tmp_path, "--json", "-", "--backend", "onnxruntime", cwd=tmp_path)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(lines) == 3, ran.stderr
    for line in lines:
        answer = server.predict("detector", Path(line["source"]).read_bytes())
        assert answer.status == 200 and answer.content_type == "application/json"
        (result,) = answer.value["results"]
        assert result["detections"] == line["detections"]
        assert (result["width"], result["height"]) == (line["width"], line["height"])
        assert len(result["detections"]) == 2


def test_answers_equal_those_of_the_command_that_predicts(server, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), np.roll(two_squares(), -16 * i, axis=1))
    for model, field in (("detector", "detections"), ("segmenter", "pixel_shares")):
        words = [server.folder / model, "--source", "in", "--output", model, "--backend", "onnxruntime"]
        command = [sys.executable, str(REPOSITORY / "tools" / "predict.py"), *map(str, words)]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        lines = [json.loads(line) for line in (tmp_path / model / "predictions.jsonl").read_text().splitlines()]
        images = [(tmp_path / "in" / f"{i}.png").read_bytes() for i in range(3)]
        answers = [server.predict(model, image).value["results"][0][field] for image in images]
        assert answers == [line[field] for line in lines] and all(answers)


def test_an_answer_says_which_model_gave_it(server):
    model = server.predict("detector", PNG).value["model"]
    digest = open_bundle(server.folder / "detector").manifest_sha256
    assert model == {"name": "tiny-detector", "version": 1, "task": "detection", "fingerprint": digest}


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "image/jpeg", "text/plain"])
def test_a_bare_body_is_an_image_whatever_its_type_is_said_to_be(server, content_type):
    assert len(server.predict("detector", PNG, content_type).value["results"][0]["detections"]) == 2


def test_options_come_in_a_header_the_address_a_form_or_json(server):
    wanted = server.predict("detector", PNG, options="classes=blue&score_threshold=0.1").value["results"][0][
        "detections"
    ]
    assert [row["label"] for row in wanted] == ["blue"]
    in_form = server.predict("detector", *form(image=PNG, classes="blue", score_threshold="0.1"))
    in_json = {"images": [base64.b64encode(PNG).decode()], "options": {"classes": ["blue"], "score_threshold": 0.1}}
    as_json = server.predict("detector", json.dumps(in_json).encode(), "application/json")
    in_address = server.ask("/invocations?model_name=detector&classes=blue&score_threshold=0.1", PNG)
    for answer in (in_form, as_json, in_address):
        assert answer.status == 200, answer.body
        assert answer.value["results"][0]["detections"] == wanted


def test_an_option_that_is_misspelt_or_wrong_is_named(server):
    misspelt = server.predict("detector", PNG, options="score_treshold=0.5")
    assert misspelt.status == 400 and misspelt.value["error"]["code"] == "unknown_option"
    assert "score_treshold" in misspelt.value["error"]["message"]
    wrong = server.predict("detector", PNG, options="score_threshold=2")
    assert wrong.status == 400 and "from 0 to 1" in wrong.value["error"]["message"]


def test_one_bad_image_of_a_request_fails_alone(server):
    answer = server.predict("detector", *form(good=PNG, torn=PNG[:200], text=b"no image" * 500, also=PNG))
    assert answer.status == 200
    results = {result["image"]: result for result in answer.value["results"]}
    assert {name: result["status"] for name, result in results.items()} == {
        "good": 200,
        "torn": 422,
        "text": 415,
        "also": 200,
    }
    assert results["good"]["detections"] == results["also"]["detections"] != []
    assert results["torn"]["error"]["code"] == "damaged_image"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "image/png", 400, "empty"),
        (b"{", "application/json", 400, "malformed"),
        (b'{"images": [7]}', "application/json", 400, "malformed"),
        (b'{"images": []}', "application/json", 400, "empty"),
        (PNG[:100], "image/png", 422, "damaged_image"),
        (b"GIF89a" + bytes(2000), "image/gif", 415, "not_an_image"),
        (PNG[:16] + (100_000).to_bytes(4, "big") * 2 + PNG[24:], "image/png", 413, "too_large"),
    ],
)
def test_what_cannot_be_answered_has_a_status_and_a_code(server, body, content_type, status, code):
    answer = server.predict("detector", body, content_type)
    error = answer.value.get("error") or answer.value["results"][0]["error"]
    assert (answer.status, error["code"]) == (status, code), answer.body
    assert str(server.folder) not in answer.body.decode()
    assert server.predict("detector", PNG).status == 200


def test_pictures_that_are_small_and_take_long_to_decode_end_no_worker(server):
    jpeg = cv2.imencode(".jpg", np.full((4000, 4000), 128, np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    bomb = jpeg[:-2] + 20_000 * scan + jpeg[-2:]  # two minutes of a decoder in 2 MB
    worker = server.workers("detector")[0]["pid"]
    answer = server.predict("detector", bomb, "image/jpeg")
    (result,) = answer.value["results"]
    assert (answer.status, result["error"]["code"]) == (422, "damaged_image")
    listed = server.predict("detector", *form(image=PNG, classes="red," * 5_000_000 + "red"))
    assert (listed.status, listed.value["error"]["code"]) == (400, "bad_option")
    assert server.workers("detector")[0]["pid"] == worker


def test_masks_and_the_annotated_picture_come_back(server):
    result = server.predict("segmenter", PNG, options="masks=png&annotated=true").value["results"][0]
    class_map = cv2.imdecode(np.frombuffer(base64.b64decode(result["class_map_png"]), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert class_map.shape == (64, 96) and class_map[24, 40] == 1 and class_map[56, 88] == 2
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(result["annotated_jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (64, 96, 3)


def test_many_clients_at_once_get_their_own_answers(server):
    images = [cv2.imencode(".png", np.roll(two_squares(), 4 * i, axis=1))[1].tobytes() for i in range(8)]
    alone = [server.predict("detector", image).value["results"] for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: server.predict("detector", image).value["results"], images * 4))
    assert together == alone * 4


def test_without_the_token_nobody_is_answered(server):
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        assert server.ask("/predictions/detector", PNG, headers=headers).status == 400
        assert server.ask("/models/detector", method="GET", headers=headers, offset=2).status == 400


def test_the_client_reads_predictions_masks_and_refusals(server):
    url = f"http://127.0.0.1:{server.port}"
    with Client(url, model="detector", token=server.token()) as client:
        result = client.predict(PNG, score_threshold=0.1, classes=["red"], annotated=True)
        assert [found.label for found in result.detections] == ["red"] and result.annotated_jpeg[:2] == b"\xff\xd8"
        good, bad = client.predict_many([PNG, PNG[:200]])
        assert len(good.detections) == 2 and bad.code == "damaged_image"
        with pytest.raises(ClientError, match="accepted a number from 0 to 1"):
            client.predict(PNG, score_threshold=7)
    with Client(url, model="segmenter", token=server.token()) as client:
        assert client.predict(PNG, masks="rle").value["masks"]["red"]["size"] == [64, 96]
    with Client(url, model="nobody", token=server.token(), retries=0) as client, pytest.raises(ClientError) as caught:
        client.predict(PNG)
    assert caught.value.status == 404
    with Client(url, model="detector", token="wrong") as client, pytest.raises(ClientError, match="Token"):
        client.predict(PNG)


def test_nobody_can_register_a_model(server):
    answer = server.ask("/models?url=file:///tmp/evil.mar", offset=2)
    assert answer.status == 405, answer.body
    assert server.ask("/models/detector", method="DELETE", offset=2).status == 405


def samples_of(server: RealServer, model: str) -> dict[tuple[str, ...], float]:
    """Counters of a model; the parser ends all their names with `_total`, as a Prometheus server does not."""
    text = server.ask("/metrics", method="GET", offset=3).body.decode()
    return {
        (
            sample.name.removesuffix("_total"),
            *(sample.labels[name] for name in ("stage", "status", "le") if name in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("model") == model
    }


def told_samples(server: RealServer, model: str) -> dict[tuple[str, ...], float]:
    """Once those of earlier requests have been told."""
    found = samples_of(server, model)
    while True:
        time.sleep(2 * TELL_S)
        before, found = found, samples_of(server, model)
        if found == before:
            return found


def test_figures_are_there_for_prometheus_with_the_last_request_in_them(server):
    before = told_samples(server, "detector")
    for _ in range(5):
        server.predict("detector", PNG)
    server.predict("detector", b"x" * 2000)

    wanted = {
        ("cvforge_replies", "200"): 5,
        ("cvforge_replies", "415"): 1,
        ("cvforge_objects",): 10,
        ("cvforge_stage_seconds_count", "network"): 6,
        ("cvforge_stage_seconds_bucket", "network", "+Inf"): 6,
    }

    def grown() -> dict[tuple[str, ...], float]:
        now = samples_of(server, "detector")
        return {key: now.get(key, 0.0) - before.get(key, 0.0) for key in wanted}

    wait_for(lambda: grown() == wanted)
    assert 0 < told_samples(server, "detector")["cvforge_stage_seconds_sum", "network"] < 60


def test_files_of_the_server_are_for_its_user_only(server):
    folder = server.folder / "serving" / "server"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "key_file.json").stat().st_mode & 0o077 == 0
    answer = server.predict("detector", *form(private=PNG, classes="secret"))
    wait_for(lambda: lines_of(server, request_id=answer.value["request_id"]))
    logs = b"".join(path.read_bytes() for path in (folder / "logs").iterdir())
    for secret in (server.token(), server.token("management"), "private", "secret"):
        assert secret.encode() not in logs


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_without_a_body_is_empty(server, method):
    answer = server.ask("/predictions/detector", method=method)
    (result,) = answer.value["results"]
    assert (answer.status, result["status"], result["error"]["code"]) == (400, 400, "empty")


def test_requests_are_noted_in_two_files_and_in_no_other(server):
    logs = server.folder / "serving" / "server" / "logs"
    quiet = [logs / name for name in ("server.log", "ts_log.log", "model_log.log")]
    server.predict("detector", PNG)  # so that whatever a first request makes it say is said
    before = [path.read_bytes() for path in quiet]
    ids = [server.predict("detector", PNG).value["request_id"] for _ in range(20)]
    assert b"Model server started." in before[0] and b"Inference API bind to" in before[1]
    wait_for(lambda: all(lines_of(server, request_id=request_id) for request_id in ids))
    assert [path.read_bytes() for path in quiet] == before
    assert (logs / "access_log.log").read_text().count('"POST /predictions/detector HTTP/1.1" 200') >= 21
    assert {path.name for path in logs.iterdir()} == {*(path.name for path in quiet), "access_log.log", "cvforge.jsonl"}


def test_status_tells_models_and_a_second_start_is_refused(server):
    told = serve("status", cwd=server.folder)
    assert told.returncode == 0 and "detector version 1: 1 of 1 workers ready" in told.stdout
    again = serve("start", "--port", server.port, cwd=server.folder)
    assert again.returncode == 14 and "a server runs there" in again.stderr
    elsewhere = serve("start", "--port", server.port, "--server", "other", cwd=server.folder)
    assert elsewhere.returncode == 14 and f"port {server.port} (inference)" in elsewhere.stderr


def test_a_start_ends_at_once_where_a_model_cannot_be_loaded(tmp_path):
    bundle = build_bundle(tmp_path / "detector", "detector", formats=("onnx",), golden=True)
    assert serve("archive", "--bundle", bundle, "--name", "broken", cwd=tmp_path).returncode == 0
    (model,) = (tmp_path / "serving" / "models" / "broken" / "bundle").glob("model_fp32.onnx")
    model.write_bytes(model.read_bytes() + b"x")
    started = serve("start", "--port", free_port(), "--wait", 100, cwd=tmp_path)
    assert started.returncode == 14
    assert "a worker cannot load its model:" in started.stderr and "model_fp32.onnx" in started.stderr
    assert "Traceback" not in started.stderr and "not ready after" not in started.stderr
    assert not (tmp_path / "serving" / "server" / "server.json").exists()
