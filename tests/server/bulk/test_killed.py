"""Killed (-9) before any step to the disk, a run leaves what the next one completes: no image lost, none twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from server.bulk.conftest import NAMES

PROGRAM = REPOSITORY / "tests" / "server" / "bulk" / "killing_parts.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are copied by fork")
def test_killed_before_any_step_the_next_run_completes_it(tmp_path: Path) -> None:
    paths = [str(REPOSITORY / "tests"), *(entry for entry in sys.path if entry)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, PROGRAM, tmp_path], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {len(line["left"]) for line in lines} == {0, 1, 2, 3}
    assert {line["event"].split()[0] for line in lines} >= {"open", "os.mkdir", "os.rename", "os.remove"}
    assert [line for line in lines if line["rows"] != [*NAMES] or line["hidden"]] == []
