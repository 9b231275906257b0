"""The configuration of TorchServe's log is one that Log4j reads, its files are bounded, and each line has its place."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from cvforge_edge.errors import UsageError
from cvforge_server.commands import start
from cvforge_server.torchserve.drift_figures import drift_line
from cvforge_server.torchserve.server_logs import EACH_REQUEST, log_configuration, refusal_in

JSON = '{"time": "2026-11-23T14:05:01.123Z", "level": "info", "event": "ready"}'
TRACEBACK, NOISE = "ValueError: no model", "Backend received inference at: 1795475244"


def takes(reference: ElementTree.Element, line: str) -> bool:
    """As Log4j's RegexFilter, which wants the whole line to match."""
    (chosen,) = reference
    outcome = chosen.get("onMatch") if re.fullmatch(chosen.get("regex", ""), line) else chosen.get("onMismatch")
    return outcome == "ACCEPT"


@pytest.mark.parametrize("console", [False, True])
def test_json_lines_and_others_of_workers_part_ways(console):
    root = ElementTree.fromstring(log_configuration(console=console))
    (logger,) = (one for one in root.iter("Logger") if one.get("name") == "MODEL_LOG")
    went = {line: {one.get("ref") for one in logger if takes(one, line)} for line in (JSON, TRACEBACK, NOISE)}
    assert went == {
        JSON: {"cvforge.jsonl", "console"} if console else {"cvforge.jsonl"},
        TRACEBACK: {"model_log.log", "output"} if console else {"model_log.log"},
        NOISE: set(),
    }


def test_the_reason_of_a_worker_that_gives_up_is_read_from_its_lines(tmp_path):
    log = tmp_path / "cvforge.jsonl"
    assert refusal_in(log, after=0) is None
    old = f'{JSON}\n{{"time": "", "event": "refused", "model": "m", "reason": "old"}}\n'
    log.write_text(old + f"{JSON}\n" + '{"time": "", "event": "refused", "model": "m", "rea')
    assert refusal_in(log, after=len(old)) is None
    log.write_text(old + '{"time": "", "event": "refused", "model": "m", "reason": "m.onnx: altered"}\n')
    assert refusal_in(log, after=len(old)) == "m: m.onnx: altered"
    cut = '{"time": "", "event": "rea\n[1]\n{"time": ""}\n'
    log.write_text(cut + '{"time": "", "event": "refused", "model": "m", "reason": "no room"}\n')
    assert refusal_in(log, after=0) == "m: no room"


@pytest.mark.parametrize("console", [False, True])
def test_every_reference_has_an_appender_and_every_file_is_set_aside(console):
    root = ElementTree.fromstring(log_configuration(console=console))
    appenders = {one.get("name") for one in root.find("Appenders")}
    assert {one.get("ref") for one in root.iter("AppenderRef")} == appenders
    files = list(root.iter("RollingFile"))
    assert len(files) == 4
    for file in files:
        assert file.find("Policies/SizeBasedTriggeringPolicy").get("size") == "50 MB"
        assert file.find("DefaultRolloverStrategy").get("max") == "5"
        assert "%i" in file.get("filePattern")


def test_what_is_said_at_every_request_is_left_out_and_nothing_else():
    worker = EACH_REQUEST["org.pytorch.serve.wlm.WorkerThread"]
    assert re.fullmatch(worker, "Looping backend response at: {}")
    assert not re.fullmatch(worker, "Retry worker: {} in {} seconds.")
    assert not re.fullmatch(worker, "Backend worker error")


def test_the_console_belongs_to_a_server_that_stays():
    with pytest.raises(UsageError, match="--console: belongs to --foreground") as caught:
        start.main(["--console"])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ({}, "drift: none"),
        ({"brightness": "ok", "scores": "ok"}, "drift: none"),
        ({"scores": "notice", "objects": "ok"}, "notice: scores"),
        ({"scores": "drift", "colors": "notice", "brightness": "drift"}, "drift: brightness, scores; notice: colors"),
    ],
)
def test_drift_is_told_in_words(levels: dict[str, str], text: str):
    assert drift_line(levels) == text
