"""The frame around every command: exit codes and messages."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence

import pytest

from cvforge.cli import run_command
from cvforge.errors import ConfigError, DataError, StorageError
from cvforge_edge.errors import BundleError


def command_raising(error: BaseException) -> tuple[int, None]:
    def main(argv: Sequence[str] | None = None) -> int:
        raise error

    return run_command(main)


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("a"), 2), (DataError("a"), 4), (BundleError("a"), 7), (StorageError("a"), 10)],
)
def test_an_error_of_ours_becomes_its_message_and_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_raising(error) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: a\n")


def test_a_full_disk_becomes_a_clear_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_raising(OSError(errno.ENOSPC, "No space left on device", "runs/a/log.txt")) == 10
    assert capsys.readouterr().err == (
        "error: cannot write runs/a/log.txt: No space left on device; free space or choose another folder\n"
    )


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("error", [RuntimeError("bug"), OSError(errno.EIO, "Input/output error")])
def test_anything_else_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        command_raising(error)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_that_returns_gives_its_code(returned: int | None, code: int) -> None:
    assert run_command(lambda argv: returned, []) == code


def test_arguments_reach_the_command() -> None:
    assert run_command(lambda argv: len(argv or ()), ["a", "b"]) == 2


def test_the_log_is_shown_plainly_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str] | None = None) -> None:
        logging.getLogger("cvforge.data").info("reading %d images", 3)
        logging.getLogger("cvforge.data").warning("one is grey")

    run_command(main)
    run_command(main)
    assert capsys.readouterr().err == "reading 3 images\nwarning: one is grey\n" * 2


def test_the_traceback_is_there_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CVFORGE_DEBUG", "1")
    command_raising(ConfigError("a"))
    assert "Traceback (most recent call last)" in capsys.readouterr().err
