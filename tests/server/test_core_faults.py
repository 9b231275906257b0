"""What goes wrong inside of a core, or is done at once to it, reaches only the image that it concerns."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvforge_edge.errors import BackendError, BundleError, InferenceError
from cvforge_edge.predictor import Predictor
from cvforge_edge.strict_json import parse_strict
from cvforge_server import core as core_module
from cvforge_server import item
from cvforge_server.core import Core
from cvforge_server.images import Limits
from cvforge_server.json_text import json_bytes
from cvforge_server.request import Part
from edge.conftest import build_bundle
from server.asking import BLUE, RED, SQUARES, CoreMaker, ask, statuses
from server.pictures import png_of

GREY = png_of(np.full((32, 48, 3), 128, np.uint8))


def is_grey(input_u8: np.ndarray) -> bool:
    return bool((input_u8 == 128).all())


def break_network(monkeypatch: pytest.MonkeyPatch, answer_to_grey: Exception | float) -> list[int]:
    """Let the network fail at, or fill with a value its answer to, the grey picture; the sizes of its calls."""
    real, sizes = Predictor.raw_outputs_of, []

    def run(self: Predictor, inputs_u8: np.ndarray) -> list[dict[str, np.ndarray]]:
        sizes.append(len(inputs_u8))
        grey = [is_grey(one) for one in inputs_u8]
        if isinstance(answer_to_grey, Exception) and any(grey):
            raise answer_to_grey
        outputs = real(self, inputs_u8)
        for one, spoilt in zip(outputs, grey, strict=True):
            if spoilt:
                one["probs"] = np.full_like(one["probs"], answer_to_grey)
        return outputs

    monkeypatch.setattr(Predictor, "raw_outputs_of", run)
    return sizes


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (InferenceError("/srv/m: broken"), "the model failed at this image; the server's log says why"),
        (IndexError("broken"), "the model failed at this image; the server's log says why"),
        (float("nan"), "the model's answer is not usable: probs: found NaN or Infinity"),
        (7.0, "the model's answer is not usable: probs: highest value is 7, expected at most 1"),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_network_that_fails_at_one_image_fails_that_one(
    fault: Exception | float, words: str, batch_size: int, open_core: CoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = open_core("batch", batch_size=batch_size)
    good = [result["classes"] for result in ask(core, RED, BLUE, SQUARES).value["results"]]
    break_network(monkeypatch, fault)
    image = [Part("body", data, "image/png") for data in (RED, GREY, BLUE, SQUARES)]
    replies = core.answer([[image[0]], [image[1]], [image[2], image[1], image[3]]], ids=["a", "b", "c"])
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert statuses(replies[2]) == [200, 500, 200]
    for wrong in (replies[1].value["results"][0], replies[2].value["results"][1]):
        assert wrong["error"]["code"] == "inference_failed"
        assert wrong["error"]["message"].startswith(words)
    answered = [replies[0].value["results"][0], *replies[2].value["results"][::2]]
    assert [result["classes"] for result in answered] == good
    assert [reply.objects for reply in replies] == [1, 0, 2]


@pytest.mark.parametrize(
    ("module", "name"),
    [(item, "decode_upload"), (item, "postprocess"), (item, "result_fields"), (core_module, "read_request")],
)
def test_an_exception_that_nobody_thought_of_stays_with_its_request(
    module: Any, name: str, open_core: CoreMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    core = open_core("detector")
    calls = iter(range(100))
    real = getattr(module, name)

    def once(*given: Any, **named: Any) -> Any:
        if next(calls) == 1:
            raise ZeroDivisionError("nobody thought of this in /srv/secret")
        return real(*given, **named)

    monkeypatch.setattr(module, name, once)
    with caplog.at_level(logging.ERROR):
        replies = core.answer([[Part("body", SQUARES)]] * 3, ids=list("abc"))
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert b"an unexpected error; the server's log has more" in replies[1].body
    assert b"secret" not in replies[1].body
    assert "nobody thought of this" in caplog.text
    assert replies[0].value["results"] == replies[2].value["results"]


def test_bodies_are_strict_json_also_of_names_that_utf8_has_no_bytes_for(open_core: CoreMaker) -> None:
    names = ["größe.jpg", "\ud800", 'a"\\\n\x00\x7f', "\U0001f600"]
    entries = [{"name": name, "data": base64.b64encode(SQUARES).decode()} for name in names]
    body = json.dumps({"images": entries}).encode()
    replies = open_core("detector").answer(
        [
            [Part("body", body, "application/json")],
            [Part("\ud800", b"x")],
            [Part("body", json.dumps({"images": [""], "options": {"\udc00": "\ud800"}}).encode(), "application/json")],
            [Part("classes", "größer".encode()), Part("body", SQUARES)],
        ],
        ids=["a", "b", "c", "d"],
    )
    values = [parse_strict(reply.body.decode("utf-8")) for reply in replies]
    assert [result["image"] for result in values[0]["results"]] == names
    assert values == [reply.value for reply in replies]
    assert [reply.status for reply in replies] == [200, 400, 400, 400]


def test_a_body_never_says_what_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        json_bytes({"score": float("nan")})


def test_every_answer_names_the_model_and_its_fingerprint(open_core: CoreMaker, tmp_path: Path) -> None:
    core = open_core("segmenter")
    fingerprint = sha256((tmp_path / "segmenter" / "manifest.json").read_bytes()).hexdigest()
    told = {"name": "tiny-segmenter", "version": 1, "task": "segmentation", "fingerprint": fingerprint}
    assert core.model == told
    for reply in (ask(core, SQUARES), ask(core), ask(core, b"x")):
        assert reply.value["model"] == told
        assert reply.value["request_id"] == "r"


def test_times_are_of_the_stages_of_a_request(open_core: CoreMaker) -> None:
    reply = ask(open_core("detector"), SQUARES)
    assert list(reply.times_ms) == ["decode", "network", "finish"]
    assert all(0 < ms < 60_000 for ms in reply.times_ms.values())
    assert reply.value["times_ms"] == {name: round(ms, 3) for name, ms in reply.times_ms.items()}


def test_limits_are_those_that_the_core_was_opened_with(open_core: CoreMaker) -> None:
    core = open_core("detector", limits=Limits(images=2, image_mb=1, megapixels=0.004))
    assert (ask(core, RED, RED, RED).status, ask(core, SQUARES).status, ask(core, RED, SQUARES).status) == (
        413,
        413,
        200,
    )


@pytest.mark.parametrize("backend", ["onnxruntime", "litert"])
def test_threads_that_ask_at_once_get_their_own_answers(backend: str, open_core: CoreMaker) -> None:
    core = open_core("detector", backend=backend)
    pictures = [RED, BLUE, SQUARES, GREY]
    expected = [ask(core, data).value["results"] for data in pictures]
    together = threading.Barrier(4)

    def asked(number: int) -> list[bool]:
        together.wait(timeout=60)
        order = [(number + step) % 4 for step in range(60)]
        return [ask(core, pictures[one]).value["results"] == expected[one] for one in order]

    with ThreadPoolExecutor(4) as pool:
        assert all(all(found) for found in pool.map(asked, range(4)))


def test_no_picture_is_kept_while_the_network_works(open_core: CoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = core_module.forward

    def forward(predictor: Predictor, inputs_u8: Sequence[np.ndarray], **options: Any) -> Any:
        sizes.extend(one.nbytes if one.base is None else one.base.nbytes for one in inputs_u8)
        return real(predictor, inputs_u8, **options)

    monkeypatch.setattr(core_module, "forward", forward)
    large = png_of(np.zeros((2000, 3000, 3), np.uint8))
    assert ask(open_core("detector"), large, large).status == 200
    assert sizes == [32 * 48 * 3] * 2


def test_a_model_without_batch_form_cannot_be_opened_for_batches(tmp_path: Path) -> None:
    folder = build_bundle(tmp_path / "bundle", "detector", formats=("onnx",), golden=False)
    with pytest.raises(BundleError, match="no model of the batch form"):
        Core.from_bundle(folder, batch_size=2)
    with pytest.raises(BundleError):
        Core.from_bundle(tmp_path / "nothing")


def test_a_model_that_fails_at_its_first_run_is_freed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_bundle(tmp_path / "bundle", "detector", formats=("onnx",), golden=False)
    closed: list[bool] = []

    def fail(*_: Any) -> None:
        raise BackendError("no memory")

    monkeypatch.setattr(Predictor, "raw_outputs_of", fail)
    monkeypatch.setattr(Predictor, "close", lambda _: closed.append(True))
    with pytest.raises(BackendError, match="no memory"):
        Core.from_bundle(folder)
    assert closed == [True]


def test_warming_up_runs_a_whole_batch(open_core: CoreMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = break_network(monkeypatch, InferenceError("not for grey of 128"))
    open_core("batch", batch_size=6)
    assert sizes == [6]


def test_images_of_a_request_share_a_number_of_pixels_and_one_too_many_is_refused_alone(open_core: CoreMaker) -> None:
    core = open_core("classifier", limits=Limits(megapixels=32 * 48 / 1e6))
    reply = ask(core, *[GREY] * 6)
    assert statuses(reply) == [200] * 4 + [413] * 2
    assert "more than 0.006144 megapixels together" in reply.value["results"][4]["error"]["message"]
    assert statuses(ask(core, *[GREY] * 4)) == [200] * 4
