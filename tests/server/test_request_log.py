"""Lines of the log: one JSON object each whatever is in them, with the ids of their requests and nothing of a client's."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from threading import Barrier

import numpy as np
import pytest

from conftest import REPOSITORY
from cvforge_edge.predictor import Predictor
from cvforge_server.core import Core
from cvforge_server.request import Part
from cvforge_server.request_log import about, log_event, log_reply, request_id_from, write_json_lines
from server.asking import BLUE, RED, SQUARES, CoreMaker, ask
from server.conftest import JsonLines

_log = logging.getLogger("cvforge_server.test")
SERVING = REPOSITORY / "docs" / "serving.md"


def break_network(monkeypatch: pytest.MonkeyPatch, broken: Callable[[np.ndarray], bool]) -> None:
    """Let the network raise where one of its inputs is broken."""
    real = Predictor.raw_outputs_of

    def run(self: Predictor, inputs_u8: np.ndarray) -> list[dict[str, np.ndarray]]:
        if any(broken(one) for one in inputs_u8):
            raise IndexError("out of range")
        return real(self, inputs_u8)

    monkeypatch.setattr(Predictor, "raw_outputs_of", run)


@pytest.mark.parametrize("given", ["a", "7", "0b9c-42.x_y:z", "x" * 128])
@pytest.mark.parametrize("header", ["X-Request-Id", "x-request-id"])
def test_the_id_that_a_client_gives_is_taken(given: str, header: str):
    assert request_id_from({"host": "x", header: given}) == given


@pytest.mark.parametrize(
    "given",
    ["", " ", "a b", "x" * 129, 'a"b', "a\n", "a\r\n[METRICS]x", "a/b", "é", "<b>", "{}", "${env:X}", {"a": 1}, None],
)
def test_any_other_is_not(given: object):
    assert request_id_from({"X-Request-Id": given}) is None
    assert request_id_from({}) is None


def test_a_line_stays_one_line_whatever_is_in_it():
    stream = io.StringIO()
    handler = write_json_lines(stream, model="m", worker="9000")
    try:
        with about("r-1"):
            _log.warning("first\n[METRICS]cvforge_replies_total.Count:7|\r\x85\u2028%s", '\udc80\x00"}')
        try:
            raise ValueError("two\nlines")
        except ValueError:
            _log.exception("failed")
    finally:
        for name in ("cvforge_server", "cvforge_edge"):
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).propagate = True
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and stream.getvalue().isascii()
    first, second = map(json.loads, lines)
    assert (first["model"], first["worker"], first["request_id"], first["level"]) == ("m", "9000", "r-1", "warning")
    assert first["message"].startswith("first\n[METRICS]") and first["logger"] == "cvforge_server.test"
    assert "request_id" not in second
    assert second["exception"].startswith("Traceback") and second["exception"].endswith("ValueError: two\nlines")
    moment = datetime.fromisoformat(first["time"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - moment).total_seconds()) < 600


def test_a_second_call_replaces_the_first():
    old, new = io.StringIO(), io.StringIO()
    write_json_lines(old)
    handler = write_json_lines(new)
    try:
        log_event("ready", {"version": 3})
    finally:
        for name in ("cvforge_server", "cvforge_edge"):
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).propagate = True
    assert old.getvalue() == "" and json.loads(new.getvalue())["version"] == 3


def test_a_failed_forward_pass_names_its_requests_and_then_the_one_whose_image_it_was(
    open_core: CoreMaker, json_lines: JsonLines, monkeypatch: pytest.MonkeyPatch
):
    core = open_core("batch", batch_size=4)
    break_network(monkeypatch, lambda one: bool((one[..., 2] == 255).all()))  # blue: inputs are RGB
    parts = [[Part("body", data, "image/png")] for data in (RED, BLUE, RED)]
    replies = core.answer(parts, ids=["a", "b", "c"])
    assert [reply.codes for reply in replies] == [("ok",), ("inference_failed",), ("ok",)]
    together, alone = json_lines()
    assert (together["level"], together["request_ids"]) == ("warning", ["a", "b", "c"])
    assert (alone["level"], alone["request_id"]) == ("error", "b")
    assert alone["message"] == "inference failed: out of range" and "IndexError" in alone["exception"]


def test_an_unexpected_error_at_any_stage_carries_the_id_of_its_request(
    open_core: CoreMaker, json_lines: JsonLines, monkeypatch: pytest.MonkeyPatch
):
    core = open_core("detector")
    for place in (
        "cvforge_server.core.read_request",
        "cvforge_server.item.decode_upload",
        "cvforge_server.item.postprocess",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_, **__: 1 / 0)
            ask(core, SQUARES)
    assert [line["request_id"] for line in json_lines()] == ["r", "r", "r"]
    assert all(line["exception"].endswith("ZeroDivisionError: division by zero") for line in json_lines())


def test_threads_do_not_mix_their_ids(json_lines: JsonLines):
    barrier = Barrier(4)

    def work(name: str) -> None:
        with about(name):
            barrier.wait(60)
            _log.info("from %s", name)
            barrier.wait(60)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert sorted((line["request_id"], line["message"]) for line in json_lines()) == [(n, f"from {n}") for n in "abcd"]


def line_of(
    core: Core, json_lines: JsonLines, *images: bytes, server_id: str = "r", **options: str
) -> dict[str, object]:
    reply = ask(core, *images, **options)
    size = sum(map(len, images))
    log_reply(reply, request_id="r", server_id=server_id, version=3, bytes_in=size, bytes_out=len(reply.body))
    return json_lines()[-1]


def test_the_line_of_a_request_says_how_it_went(open_core: CoreMaker, json_lines: JsonLines):
    core = open_core("detector")
    line = line_of(core, json_lines, SQUARES, b"no image")
    assert {key: line[key] for key in ("event", "request_id", "version", "status", "images", "codes", "objects")} == {
        "event": "request",
        "request_id": "r",
        "version": 3,
        "status": 200,
        "images": 2,
        "codes": ["ok", "not_an_image"],
        "objects": 2,
    }
    assert line["bytes_in"] == len(SQUARES) + 8 and line["bytes_out"] > 300
    assert all(line[f"{stage}_ms"] >= 0 for stage in ("decode", "network", "finish"))
    refused = line_of(core, json_lines, server_id="other")
    assert (refused["status"], refused["images"], refused["codes"], refused["server_id"]) == (
        400,
        0,
        ["empty"],
        "other",
    )


def test_what_a_client_sends_is_not_in_the_log(open_core: CoreMaker, json_lines: JsonLines):
    core = open_core("detector")
    parts = [Part("SECRET-name", SQUARES, "image/png"), Part("classes", b"SECRET-class")]
    (reply,) = core.answer([parts], ids=["r"])
    assert reply.status == 400 and "SECRET-class" in reply.body.decode()
    log_reply(reply, request_id="r", server_id="r", version=1, bytes_in=1, bytes_out=1)
    assert "SECRET" not in json.dumps(json_lines())


def test_the_documents_name_every_key(open_core: CoreMaker, json_lines: JsonLines):
    line = line_of(open_core("detector"), json_lines, SQUARES, server_id="other")
    text = SERVING.read_text(encoding="utf-8")
    keys = {
        *line,
        "model",
        "worker",
        "request_ids",
        "logger",
        "message",
        "exception",
        "fingerprint",
        "quantity",
        "text",
    }
    assert sorted(key for key in keys if f"`{key}`" not in text) == []
