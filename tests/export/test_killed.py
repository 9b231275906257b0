"""kill -9 at any moment leaves the old thing or the new one, whole, and the next call goes on from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are copied by fork")
PROGRAM = REPOSITORY / "tests" / "export" / "killing.py"


def kill(folder: Path, job: str, old: str = "none", how: str = "steps") -> list[dict]:
    """What was there after each kill."""
    paths = [str(REPOSITORY / "tests"), *(entry for entry in sys.path if entry)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROGRAM), job, old, how, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) > 5
    return lines


def states(lines: list[dict]) -> list[str]:
    """Each state once, in the order in which they first came."""
    return list(dict.fromkeys(line["state"] for line in lines))


def after(lines: list[dict]) -> set[tuple[str, ...]]:
    """What the next call made, and every name in the folder then."""
    return {(line["after"], *line["names"]) for line in lines if line["after"] is not None}


def test_replacing_a_bundle_leaves_the_old_or_the_new_one_at_every_step(tmp_path: Path) -> None:
    lines = kill(tmp_path, "replace", "unsigned")
    assert states(lines) == ["version 1", "version 2"]
    assert after(lines) == {("version 2", "bundle")}
    assert any(".bundle.draft-" in line["left"] for line in lines)


def test_a_first_bundle_is_absent_or_whole_at_every_step(tmp_path: Path) -> None:
    lines = kill(tmp_path, "replace")
    assert states(lines) == ["absent", "version 2"]
    assert after(lines) == {("version 2", "bundle")}


def test_where_folders_cannot_be_exchanged_the_next_export_puts_the_old_bundle_back(tmp_path: Path) -> None:
    lines = kill(tmp_path, "replace", "unsigned without exchange")
    assert states(lines) == ["version 1", "put back version 1", "version 2"]
    assert after(lines) == {("version 2", "bundle")}


@pytest.mark.parametrize(("job", "name"), [("unpack", "bundle"), ("pack", "b.tar")])
def test_an_unpacked_bundle_and_an_archive_are_absent_or_whole_at_every_step(
    tmp_path: Path, job: str, name: str
) -> None:
    lines = kill(tmp_path, job)
    assert states(lines)[0] == "absent"
    assert set(states(lines)) <= {"absent", "version 2"}
    assert after(lines) == {("version 2", name)}


def test_a_bundle_that_is_signed_again_always_has_the_old_or_the_new_signatures(tmp_path: Path) -> None:
    lines = kill(tmp_path, "sign", "signed")
    assert states(lines) == ["1 signatures", "2 signatures"]
    assert after(lines) == {("2 signatures", "bundle")}


@pytest.mark.slow
@pytest.mark.parametrize(("old", "first"), [("none", "absent"), ("unsigned", "version 1"), ("signed", "version 1")])
def test_an_export_leaves_the_old_or_the_new_bundle_at_every_step(tmp_path: Path, old: str, first: str) -> None:
    lines = kill(tmp_path, "export", old)
    assert states(lines) == [first, "version 2"]
    assert after(lines) == {
        ("version 2", "bundle", "bundle.measurements.json", "bundle.pareto.png", "bundle.report.html")
    }


@pytest.mark.slow
def test_an_export_leaves_the_old_or_the_new_bundle_at_every_moment(tmp_path: Path) -> None:
    lines = kill(tmp_path, "export", "signed", "moments")
    assert set(states(lines)) <= {"version 1", "version 2"}
    assert states(lines)[0] == "version 1"
    assert after(lines) == {
        ("version 2", "bundle", "bundle.measurements.json", "bundle.pareto.png", "bundle.report.html")
    }
