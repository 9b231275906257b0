"""A bundle's folder appears whole or not at all, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvforge.errors import ConfigError, RunExistsError
from cvforge.export import folder
from cvforge.export.folder import whole_folder


def write(target: Path, text: str, *, replace: bool = False) -> None:
    with whole_folder(target, replace=replace) as draft:
        (draft / "manifest.json").write_text(text)
        (draft / "golden").mkdir()
        (draft / "golden" / "00.png").write_text(text)


def test_the_folder_gets_its_name_only_when_everything_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "bundle"
    with whole_folder(target, replace=False) as draft:
        (draft / "manifest.json").write_text("new")
        assert not target.exists()
        assert draft.parent == target.parent  # the same file system, or the rename would be a copy
    assert (target / "manifest.json").read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("atomic", [True, False])
def test_an_old_bundle_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool) -> None:
    if not atomic:
        monkeypatch.setattr(folder, "_exchange", lambda first, second: False)
    target = tmp_path / "bundle"
    write(target, "old")
    (target / "model_int8.onnx").write_text("of the old bundle only")
    write(target, "new", replace=True)
    assert (target / "manifest.json").read_text() == "new"
    assert not (target / "model_int8.onnx").exists()
    assert list(tmp_path.iterdir()) == [target]


def test_folders_are_exchanged_in_one_step_on_linux(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux exchanges two folders in one step")
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.mkdir()
        (path / path.name).write_text("")
    assert folder._exchange(first, second)
    assert [path.name for path in first.iterdir()] == ["second"]
    assert [path.name for path in second.iterdir()] == ["first"]


def test_a_bundle_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(RunExistsError), whole_folder(target, replace=False) as draft:
        (draft / "manifest.json").write_text("slow")
        target.mkdir()
        (target / "manifest.json").write_text("quick")
    assert (target / "manifest.json").read_text() == "quick"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_bundle_is_never_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "bundle"
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
    else:
        write(tmp_path / "other", "old")
        target.symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="exists and is not a bundle, so it is left alone; give another name"):
        write(target, "new", replace=True)
    assert target.exists()


def test_the_draft_of_a_killed_process_is_removed_by_the_next_export(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned = tmp_path / f".bundle.draft-{ended.pid}"
    running = tmp_path / f".bundle.draft-{os.getppid()}"
    for draft in (abandoned, running):
        draft.mkdir()
        (draft / "model_fp32.onnx").write_text("half")
    write(tmp_path / "bundle", "new")
    assert not abandoned.exists()
    assert running.exists()  # another export to the same place is at work
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "new"


def test_an_export_that_is_killed_leaves_the_old_bundle_whole(tmp_path: Path) -> None:
    write(tmp_path / "bundle", "old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom cvforge.export.folder import whole_folder\n"
        "with whole_folder(Path(sys.argv[1]), replace=True) as draft:\n"
        "    (draft / 'manifest.json').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "bundle")], env=environment, check=False)
    assert done.returncode == -9
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "old"
    write(tmp_path / "bundle", "new", replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
