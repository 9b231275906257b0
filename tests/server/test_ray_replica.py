"""A replica answers as the core does, whatever comes, and exchanges its bundle without a word to clients."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvforge_edge.errors import BundleError, UsageError
from cvforge_edge.evidence.findings import MIN_IMAGES
from cvforge_server.core import Core
from cvforge_server.drift import AT_ONCE, IMAGES, LEVEL
from cvforge_server.request import Part
from cvforge_server.request_log import LOGGERS, JsonLine
from edge.conftest import build_bundle
from server.asking import BLUE, RED, SQUARES
from server.bundles import add_reference
from server.pictures import pictures_in_light, png_of
from server.ray_requests import Said, http_request, replies, run

pytest.importorskip("ray.serve")
pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from ray.serve import metrics

from cvforge_server.rayserve.meters import UPDATE_REFUSED, Meters
from cvforge_server.rayserve.replica import Predictions
from cvforge_server.rayserve.settings import Settings

PNG = {"Content-Type": "image/png"}
FIELDS = ("version", "status", "images", "codes", "objects", "bytes_in", "bytes_out")


def bundle_of(tmp_path: Path, name: str = "detector", *, version: int = 1) -> Path:
    folder = build_bundle(tmp_path / f"{name}-{version}", name, formats=("onnx",), golden=False)
    text = (folder / "manifest.json").read_text()
    value = json.loads(text)
    (folder / "manifest.json").write_text(text.replace(f'"version": {value["version"]}', f'"version": {version}', 1))
    return folder


def loaded(bundle: Path, **settings: Any) -> Predictions:
    replica = Predictions(Settings(**settings))
    run(lambda: replica.reconfigure({"bundle": str(bundle)}))
    return replica


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A replica has a process of its own, and changes where its log goes."""
    logs = [logging.getLogger(name) for name in LOGGERS]
    before = [([*log.handlers], log.level, log.propagate) for log in logs]
    yield
    for log, (handlers, level, propagate) in zip(logs, before, strict=True):
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture
def replica(tmp_path: Path) -> Predictions:
    return loaded(bundle_of(tmp_path), max_request_mb=0.1, max_images=2)


@pytest.fixture
def log(replica: Predictions) -> io.StringIO:
    """What the replica writes to its log from now on."""
    (handler,) = [one for one in logging.getLogger(LOGGERS[0]).handlers if isinstance(one.formatter, JsonLine)]
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    return stream


def ask(replica: Predictions, *chunks: bytes, **request: Any) -> Said:
    (said,) = replies(replica, [http_request(*chunks, **{"headers": PNG, **request})])
    assert said.content_type == "application/json"
    return said


def test_an_answer_is_that_of_the_core(replica: Predictions, tmp_path: Path) -> None:
    core = Core.from_bundle(tmp_path / "detector-1")
    (wanted,) = core.answer([[Part("body", SQUARES, "image/png")]], ids=["r-1"])
    said = ask(replica, SQUARES[:50], SQUARES[50:], headers={**PNG, "X-Request-ID": "r-1"})
    assert said.status == wanted.status == 200
    assert said.value | {"times_ms": None} == wanted.value | {"times_ms": None}
    assert set(said.value["times_ms"]) == {"decode", "network", "finish"}


def test_options_come_in_the_address_or_the_header_and_not_in_both(replica: Predictions) -> None:
    def labels(**request: Any) -> list[str]:
        found = ask(replica, SQUARES, **request).value["results"][0]["detections"]
        return [row["label"] for row in found]

    assert labels() == ["red", "blue"]
    assert labels(query="classes=blue") == ["blue"]
    assert labels(headers={**PNG, "X-CVForge-Options": "classes=red"}) == ["red"]
    twice = ask(replica, SQUARES, query="classes=red", headers={**PNG, "X-CVForge-Options": "classes=red"})
    assert (twice.status, twice.value["error"]["code"]) == (400, "bad_option")


def test_a_form_and_json_are_read_as_everywhere(replica: Predictions) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\nContent-Type: image/png\r\n\r\n'
    body = head % b"one" + RED + b"\r\n" + head % b"two" + b"no image\r\n--b--\r\n"
    said = ask(replica, body, headers={"Content-Type": "Multipart/Form-Data; boundary=b"})
    assert [(r["image"], r["status"]) for r in said.value["results"]] == [("one", 200), ("two", 415)]
    wrong = ask(replica, b"{", headers={"Content-Type": "application/json"})
    assert (wrong.status, wrong.value["error"]["code"]) == (400, "malformed")


def test_the_open_inference_protocol_is_understood_with_and_without_a_tail(replica: Predictions) -> None:
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES"}
    text = json.dumps({"id": "7", "inputs": [{**tensor, "data": [base64.b64encode(SQUARES).decode()]}]}).encode()
    said = ask(replica, text, headers={"Content-Type": "application/json"})
    assert (said.status, said.value["id"]) == (200, "7")
    element = len(SQUARES).to_bytes(4, "little") + SQUARES
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(element)}}]}).encode()
    lengths = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    binary = ask(replica, head + element, headers=lengths)
    found = [json.loads(one.value["outputs"][0]["data"][0])["detections"] for one in (said, binary)]
    assert len(found[0]) == 2 and found[0] == found[1]


REFUSED = [
    (http_request(b"", headers={**PNG, "Content-Length": "100001"}), 413, "too_large"),
    (http_request(b"", headers={**PNG, "Content-Length": "9" * 5000}), 413, "too_large"),
    (http_request(*[b"x" * 20_000] * 6, headers=PNG), 413, "too_large"),
    (http_request(b"x", headers=PNG, disconnect=True), 400, "malformed"),
    (http_request(b"--b\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"}), 400, "malformed"),
    (http_request(b"--b\r\n", headers={"Content-Type": "multipart/form-data"}), 400, "malformed"),
    (http_request(SQUARES, headers=PNG, method="DELETE"), 400, "malformed"),
    (http_request(SQUARES, headers=PNG, below="/2"), 400, "malformed"),
    (http_request(method="GET", below="/metrics"), 400, "malformed"),
    (http_request(SQUARES, headers=PNG, query="top=3"), 400, "bad_option"),
    (http_request(SQUARES, headers=PNG, query="scores=3"), 400, "unknown_option"),
]


@pytest.mark.parametrize(("request_", "status", "code"), REFUSED)
def test_a_request_that_is_refused_gets_the_documented_form(
    request_: Any, status: int, code: str, replica: Predictions
) -> None:
    (said,) = replies(replica, [request_])
    assert (said.status, said.value["error"]["code"], said.content_type) == (status, code, "application/json")
    assert set(said.value) == {"request_id", "model", "error"} and said.value["model"]["name"]


def test_an_unexpected_error_has_the_documented_form_too(
    replica: Predictions, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret place")

    monkeypatch.setattr(Core, "answer", broken)
    said = ask(replica, SQUARES)
    assert (said.status, said.value["error"]["code"]) == (500, "inference_failed")
    assert "secret" not in json.dumps(said.value) and "secret place" in log.getvalue()


def test_a_request_has_one_line_of_json_and_one_that_is_given_up_too(
    replica: Predictions, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ask(replica, SQUARES, headers={**PNG, "X-Request-ID": "r-1"})
    (line,) = map(json.loads, log.getvalue().splitlines())
    times = {f"{stage}_ms" for stage in said.value["times_ms"]}
    assert set(line) == {"time", "level", "event", "request_id", *FIELDS, *times}
    found = {name: line[name] for name in ("event", "request_id", "status", "codes", "objects", "bytes_in")}
    wanted = {"event": "request", "request_id": "r-1", "status": 200, "codes": ["ok"], "objects": 2}
    assert found == {**wanted, "bytes_in": len(SQUARES)}

    def gone(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Core, "answer", gone)
    with pytest.raises(asyncio.CancelledError):
        ask(replica, SQUARES, headers={**PNG, "X-Request-ID": "r-2"})
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["event"], line["request_id"]) == ("given_up", "r-2")


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ä", "a\nb"])
def test_a_request_without_a_sane_id_gets_a_new_one(given: str, replica: Predictions) -> None:
    found = ask(replica, SQUARES, headers={**PNG, "X-Request-ID": given}).value["request_id"]
    assert len(found) == 36 and found != given


def test_requests_that_come_at_once_get_their_own_answers(replica: Predictions) -> None:
    pictures = [RED, BLUE, SQUARES, b"no image"] * 5
    asked = [http_request(data, headers={**PNG, "X-Request-ID": f"r{n}"}) for n, data in enumerate(pictures)]
    found = replies(replica, asked)
    assert [said.value["request_id"] for said in found] == [f"r{number}" for number in range(20)]
    alone = [ask(replica, data).value["results"] for data in pictures]
    assert [said.value["results"] for said in found] == alone


@pytest.mark.parametrize("below", ["", "/ready", "/ready/"])
def test_a_look_says_which_model_answers(below: str, replica: Predictions) -> None:
    said = ask(replica, method="GET", below=below)
    model = ask(replica, SQUARES).value["model"]
    assert (said.status, said.value) == (200, {"model": model, "update_refused": False})


def test_a_new_bundle_answers_after_it_was_loaded_and_those_before_are_answered_by_the_old_one(
    replica: Predictions, tmp_path: Path
) -> None:
    after = bundle_of(tmp_path, version=2)

    async def update_among_requests() -> list[int]:
        early = [asyncio.ensure_future(replica(http_request(SQUARES, headers=PNG))) for _ in range(8)]
        await replica.reconfigure({"bundle": str(after)})
        late = [replica(http_request(SQUARES, headers=PNG)) for _ in range(8)]
        found = [*await asyncio.gather(*early), *await asyncio.gather(*late)]
        assert {said.status_code for said in found} == {200}
        return [json.loads(said.body)["model"]["version"] for said in found]

    versions = run(update_among_requests)
    assert versions[0] == 1 and versions[8:] == [2] * 8 and versions == sorted(versions)


def test_a_bundle_that_cannot_be_loaded_is_refused_and_the_one_before_goes_on(
    replica: Predictions, tmp_path: Path, log: io.StringIO
) -> None:
    damaged = bundle_of(tmp_path, version=2)
    (damaged / "model_fp32.onnx").write_bytes(b"damaged")
    for wrong in ({"bundle": str(damaged)}, {"bundle": "relative"}, {"bundel": "/x"}):
        log.seek(log.truncate(0))
        run(lambda config=wrong: replica.reconfigure(config))
        assert ask(replica, SQUARES).value["model"]["version"] == 1
        assert ask(replica, method="GET").value["update_refused"] is True
        assert "update refused" in log.getvalue()
    run(lambda: replica.reconfigure({"bundle": str(bundle_of(tmp_path, version=3))}))
    assert ask(replica, method="GET").value["update_refused"] is False
    assert ask(replica, SQUARES).value["model"]["version"] == 3


def test_the_bundle_that_answers_is_not_loaded_again(replica: Predictions, tmp_path: Path) -> None:
    (tmp_path / "detector-1" / "model_fp32.onnx").write_bytes(b"changed under the server")
    run(lambda: replica.reconfigure({"bundle": str(tmp_path / "none")}))
    assert ask(replica, method="GET").value["update_refused"] is True
    run(lambda: replica.reconfigure({"bundle": str(tmp_path / "detector-1")}))  # back to what is there
    assert ask(replica, method="GET").value["update_refused"] is False
    assert ask(replica, SQUARES).status == 200


def test_the_first_bundle_must_be_a_good_one(tmp_path: Path) -> None:
    replica = Predictions(Settings())
    with pytest.raises(BundleError, match="not found"):
        run(lambda: replica.reconfigure({"bundle": str(tmp_path / "none")}))
    with pytest.raises(UsageError, match="user_config: found none"):
        run(replica.check_health)


def test_a_replica_whose_network_fails_is_not_well(replica: Predictions, monkeypatch: pytest.MonkeyPatch) -> None:
    run(replica.check_health)

    def broken(_: Core) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(Core, "warm_up", broken)
    with pytest.raises(RuntimeError, match="the device is gone"):
        run(replica.check_health)


def test_drift_is_told_with_each_check_of_health_and_begins_anew_with_another_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, float, dict[str, str]]] = []

    class Recorded(metrics.Gauge):
        def set(self, value: float, tags: dict[str, str]) -> None:
            super().set(value, tags)
            told.append((self.info["name"], value, tags))

    def after_a_check() -> list[tuple[str, float, dict[str, str]]]:
        told.clear()
        run(replica.check_health)
        return [one for one in told if one[0] != UPDATE_REFUSED]

    monkeypatch.setattr(metrics, "Gauge", Recorded)
    shown = [png_of(image) for image in pictures_in_light(AT_ONCE, light=0.3)]
    bundles = [add_reference(bundle_of(tmp_path, version=version), pictures_in_light(MIN_IMAGES)) for version in (1, 2)]
    replica = loaded(bundles[0], drift_every_s=1e-6)
    core = Core.from_bundle(bundles[0], drift_every_s=1e-6)
    for data in shown:
        assert ask(replica, data).status == 200
        core.answer([[Part("body", data, "image/png")]], ids=["r"])
    assert core.drift is not None
    model = {"model": core.model["name"], "version": "1"}
    wanted = [(gauge.name, gauge.value, {**model, **dict(gauge.labels)}) for gauge in core.drift.newest()]
    assert (LEVEL, 2.0, {**model, "quantity": "brightness"}) in wanted
    assert after_a_check() == after_a_check() == wanted
    run(lambda: replica.reconfigure({"bundle": str(bundles[1])}))
    assert after_a_check() == [(IMAGES, 0.0, {**model, "version": "2"})]
    core.close()


def test_without_a_reference_or_the_wish_no_drift_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Meters, "tell", lambda *_, **__: pytest.fail("told"))
    bare = bundle_of(tmp_path)
    for replica in (
        loaded(bare),
        loaded(add_reference(bundle_of(tmp_path, version=2), pictures_in_light(1)), drift_every_s=0),
    ):
        run(replica.check_health)


def test_only_signed_bundles_are_loaded_where_keys_are_given(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        Predictions(Settings(trust=str(tmp_path / "keys")))


def test_requests_whose_clients_are_gone_are_not_decoded_and_the_others_are_answered(
    replica: Predictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, seen, answer = threading.Event(), [], Core.answer

    def slow(core: Core, requests: Any, *, ids: Any) -> Any:
        seen.extend(ids)
        assert gate.wait(60)
        return answer(core, requests, ids=ids)

    async def some_go() -> list[int]:
        monkeypatch.setattr(Core, "answer", slow)
        asked = [http_request(RED, headers={**PNG, "X-Request-ID": f"r{n}"}) for n in range(12)]
        tasks = [asyncio.ensure_future(replica(request)) for request in asked]
        while not seen:
            await asyncio.sleep(0.01)
        await replica.check_health()  # full of work, and well
        for task in tasks[1:10]:
            task.cancel()
        await asyncio.wait(tasks[1:10])
        gate.set()
        return [(await tasks[number]).status_code for number in (0, 10, 11)]

    assert run(some_go) == [200, 200, 200]
    assert seen == ["r0", "r10", "r11"]
