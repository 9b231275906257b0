"""Command-line options that several tools share; imports nothing heavy, so that `--help` stays quick."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvforge.commands.model import OpenedModel


def count(text: str) -> int:
    """A whole number of at least 1 (an argparse type)."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)


def new_file(text: str) -> Path:
    """Where a file can be written (an argparse type): told before the work, not after it."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        fault = "is a folder" if path.is_dir() else f"lies in {path.parent}, and there is no such folder"
        raise argparse.ArgumentTypeError(f"{text} {fault}; expected a file in a folder that exists")
    return path


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint of a run, or which file and runtime of a bundle."""
    add = parser.add_argument
    add("--checkpoint", default="best", metavar="WHICH", help="run: best (default), last, or the path of a .ckpt file")
    add("--backend", metavar="NAME", help="bundle: litert, onnxruntime, ... (default: the preferred installed one)")
    add("--precision", metavar="P", help="bundle: fp32, fp16 or int8 (default: its first model that fits)")
    add(
        "--batch",
        action="store_true",
        help="bundle: its file for servers (tools/export.py --batch), run image by image",
    )
    add("--trust", type=Path, metavar="PATH", help="bundle: folder of *.pub files, or one: only what they have signed")
    add("--threads", type=count, metavar="N", help="bundle: processor threads (default: 1)")


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
        batch=arguments.batch,
    )
