"""Command-line options that several tools share; imports nothing heavy, so that `--help` stays quick."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge.errors import StorageError

if TYPE_CHECKING:
    from cvforge.commands.model import OpenedModel


def count(text: str) -> int:
    """A whole number of at least 1 (an argparse type)."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint of a run, or which file and runtime of a bundle."""
    add = parser.add_argument
    add("--checkpoint", default="best", metavar="WHICH", help="run: best (default), last, or the path of a .ckpt file")
    add("--backend", metavar="NAME", help="bundle: litert, onnxruntime, ... (default: the preferred installed one)")
    add("--precision", metavar="P", help="bundle: fp32, fp16 or int8 (default: its first model that fits)")
    add("--trust", type=Path, metavar="PATH", help="bundle: folder of *.pub files, or one: only what they have signed")
    add("--threads", type=count, metavar="N", help="bundle: processor threads (default: 1)")


def check_output(path: Path, *, option: str) -> None:
    """Find out before hours of work whether a file can be written.

    Raises:
        StorageError: its folder is missing or closed to us.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise StorageError(f"{option} {path}: there is no folder {folder}; make it, or choose another")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise StorageError(f"{option} {path}: cannot be written; choose another file")


def open_chosen_model(arguments: argparse.Namespace) -> OpenedModel:
    """The run or bundle at `arguments.model`, opened as the options of `add_model_options` say."""
    from cvforge.commands.model import open_model

    return open_model(
        arguments.model,
        checkpoint=arguments.checkpoint,
        backend=arguments.backend,
        precision=arguments.precision,
        threads=arguments.threads,
        trust=arguments.trust,
    )
