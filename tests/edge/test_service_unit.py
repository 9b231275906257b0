"""The systemd unit: a command line that the program takes, and restarts after every failure that may pass."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cvforge_edge import errors
from cvforge_edge.camera_options import parse_options

REPOSITORY = Path(__file__).resolve().parents[2]
UNIT = REPOSITORY / "deploy" / "edge" / "cvforge-camera.service"
PASSING = (errors.SourceError, errors.StorageError, errors.BackendError, errors.WatchdogError)
"""An absent camera, a full disk, hardware that is not there yet, a limit: all may be well again by the next start."""
UNEXPECTED = 1


def entries(text: str) -> dict[str, list[str]]:
    """Values by key, in the order of the file; keys of a unit's sections do not clash here."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def unit() -> dict[str, list[str]]:
    return entries(UNIT.read_text(encoding="utf-8"))


@pytest.fixture
def environment(unit) -> dict[str, str]:
    """What the unit sets."""
    return dict(text.split("=", 1) for line in unit["Environment"] for text in shlex.split(line))


def options_of(line: str, environment: dict[str, str]) -> argparse.Namespace:
    """What the program makes of an ExecStart."""
    _, program, *arguments = shlex.split(re.sub(r"\$\{(\w+)\}", lambda name: environment[name[1]], line))
    assert program == "/opt/cvforge/run_camera.py"
    return parse_options(arguments)


def test_its_command_line_is_one_that_the_program_takes(unit, environment):
    (line,) = unit["ExecStart"]
    options = options_of(line, environment)
    assert (options.source, options.self_test, options.quiet, options.json) == (["0"], True, True, "-")
    assert math.isinf(options.connect_for)
    assert math.isinf(options.reconnect_for)
    assert {"memory", "silence"} == set(dict(options.limit))


def test_the_drop_in_of_the_documents_is_one_too_and_as_patient(environment):
    cleared, line = entries((REPOSITORY / "docs" / "boards.md").read_text(encoding="utf-8"))["ExecStart"]
    assert cleared == ""
    options = options_of(line, environment)
    assert (options.backend, options.self_test) == ("onnxruntime-cuda", True)
    assert math.isinf(options.connect_for)
    assert {"memory", "silence"} == set(dict(options.limit))  # a driver that hangs needs a new process on boards, too


def test_it_is_started_again_for_ever_after_every_failure_that_may_pass(unit):
    assert unit["Restart"] == ["on-failure"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert "StartLimitBurst" not in unit
    final = {int(code) for line in unit["RestartPreventExitStatus"] for code in line.split()}
    known = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert final <= known
    assert final.isdisjoint({kind.exit_code for kind in PASSING} | {UNEXPECTED})


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_every_line(tmp_path):
    text = UNIT.read_text(encoding="utf-8").replace("/opt/cvforge/.venv/bin/python", sys.executable)
    (tmp_path / UNIT.name).write_text(text, encoding="utf-8")
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if UNIT.name in line]
    assert (checked.returncode, complaints) == (0, [])
