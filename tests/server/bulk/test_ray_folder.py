"""Ray's files of a run: nobody else enters their folder, and what a killed run leaves goes at the next start."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY
from cvforge_server.bulk.ray_folder import private_folder, remove_leftovers

HOLD = "import sys, time; from pathlib import Path; from cvforge_server.bulk.ray_folder import private_folder\n"
HOLD += "with private_folder(Path(sys.argv[1])) as folder: print(folder, flush=True); time.sleep(600)"


def test_a_folder_that_ray_opens_to_everybody_lies_in_one_that_is_closed_and_both_go(tmp_path: Path) -> None:
    with private_folder(tmp_path) as folder:
        folder.chmod(0o777)  # as Ray does
        assert folder.is_dir() and stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_leaves_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    paths = [str(REPOSITORY / "deploy" / name) for name in ("server", "edge")]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{HOLD}", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder = Path(run.stdout.readline().strip())
        (folder / "log").write_text("x")
        remove_leftovers(tmp_path)
        assert (folder / "log").exists()
        run.send_signal(signal.SIGKILL)
    assert folder.exists()
    (tmp_path / "cvforge-ray-other").mkdir()  # without a lock
    with private_folder(tmp_path) as mine:
        assert sorted(tmp_path.iterdir()) == sorted([mine.parent, tmp_path / "cvforge-ray-other"])
