"""The options about evidence, and the sink that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.errors import UsageError
from cvforge_edge.evidence.settings import MB, PICTURE_FORMATS, PICTURES, EvidenceSettings
from cvforge_edge.option_types import count

if TYPE_CHECKING:
    from cvforge_edge.bundle import Bundle
    from cvforge_edge.evidence.sink import EvidenceSink

DEPENDENT = ("evidence_pictures", "evidence_blur", "evidence_format", "evidence_max_mb", "evidence_max_frames")


def add_evidence_options(group: argparse._ArgumentGroup) -> None:
    """Where evidence goes, how much of it, and what of a picture."""
    add = group.add_argument
    evidence_help = (
        "keep hard frames for the next training, and watch for drift; a folder for its owner alone (README.md)"
    )
    add("--evidence", type=Path, metavar="FOLDER", help=evidence_help)
    pictures_help = (
        "what of hard frames is stored: original; blurred (people, or the classes of --evidence-blur; without such classes "
        "the whole picture); none: what the model said, no picture (default: original)"
    )
    add("--evidence-pictures", choices=PICTURES, help=pictures_help)
    add("--evidence-blur", metavar="LABEL,...", type=_labels, help="classes that 'blurred' blurs in place of people")
    add("--evidence-format", choices=PICTURE_FORMATS, help="of the pictures (default: jpg, quality 95)")
    add("--evidence-max-mb", metavar="MB", type=count, help="of all hard frames (default: 500)")
    add("--evidence-max-frames", metavar="N", type=count, help="hard frames at most (default: 1000)")


def evidence_settings(options: argparse.Namespace) -> EvidenceSettings | None:
    """What the options ask for; None where they ask for no evidence.

    Raises:
        UsageError: options that do not go together.
    """
    given = [name for name in DEPENDENT if getattr(options, name) is not None]
    if options.evidence is None:
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} belongs to --evidence FOLDER; name the folder")
        return None
    if options.evidence_blur is not None and options.evidence_pictures != "blurred":
        raise UsageError("--evidence-blur belongs to --evidence-pictures blurred; nothing else is blurred")
    wanted = {
        "pictures": options.evidence_pictures,
        "blur_labels": options.evidence_blur,
        "picture_format": options.evidence_format,
        "max_bytes": None if options.evidence_max_mb is None else options.evidence_max_mb * MB,
        "max_frames": options.evidence_max_frames,
    }
    return EvidenceSettings(options.evidence, **{name: value for name, value in wanted.items() if value is not None})


def open_evidence(options: argparse.Namespace, bundle: Bundle, *, names: Sequence[str]) -> EvidenceSink | None:
    """The sink that the options ask for; None where they ask for none.

    Args:
        options: with those of `add_evidence_options`.
        bundle: of the model.
        names: of the sources, in the order of the run.

    Raises:
        UsageError: options that do not go together, a folder in use, or a class that the model does not know.
        StorageError: the folder cannot be created or read.
        BundleError: the reference statistics of the bundle cannot be read.
    """
    settings = evidence_settings(options)
    if settings is None:
        return None
    from cvforge_edge.evidence.evidence import Evidence  # a run without evidence starts sooner
    from cvforge_edge.evidence.sink import EvidenceSink

    return EvidenceSink(lambda of: Evidence(settings, of, names=names), bundle)


def _labels(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if "" in names:
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted labels with commas between them")
    return names
