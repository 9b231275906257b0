"""The file system of the emulated board is whole or absent, and what is missing for it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import arm_board
from arm_board import ROOT_NAME, BoardError, board_root, obstacle


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CVFORGE_BOARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_build_that_fails_or_was_killed_is_never_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = cache / f".{ROOT_NAME}.draft-999999999"  # no process has this number
    (killed / "usr").mkdir(parents=True)

    def fail(folder: Path) -> None:
        (folder / "usr").mkdir(parents=True)
        raise BoardError("no network")

    monkeypatch.setattr(arm_board, "_build_root", fail)
    with pytest.raises(BoardError, match="no network"):
        board_root()
    assert list(cache.iterdir()) == []


def test_a_file_system_is_built_once_and_gets_its_name_when_it_is_whole(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def build(folder: Path) -> None:
        assert not (cache / ROOT_NAME).exists()
        (folder / "usr").mkdir(parents=True)
        built.append(folder)

    monkeypatch.setattr(arm_board, "_build_root", build)
    assert board_root() == board_root() == cache / ROOT_NAME
    assert len(built) == 1
    assert [path.name for path in cache.rglob("*")] == [ROOT_NAME, "usr"]


def test_a_failed_step_says_which_one_and_its_last_lines() -> None:
    with pytest.raises(BoardError, match=r"emulated board: load packages ended with code 3:\nno such mirror"):
        arm_board._step(["sh", "-c", "echo no such mirror; exit 3"], "load packages")


def test_missing_programs_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arm_board, "_path", lambda: str(tmp_path))
    assert obstacle() == (
        "an emulated board needs debootstrap, dpkg-deb, qemu-aarch64-static; on Debian: apt-get install debootstrap "
        "qemu-user-static"
    )
