"""Hard frames that a device has kept become a data set to correct: what the model said is where a labeller begins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from cvforge.cli import run_command
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

EXAMPLES = """\
what is written:
  detection        images/ and annotations.json (COCO; each annotation has the model's score): open both in CVAT or Label Studio
  classification   one folder for each class, with the pictures that the model took for it: move the wrong ones
  segmentation     images/ and masks/ (class of each pixel as its grey level, 255 is void)
  All are what the loaders of configs/ read. Frames without pictures, and those of models with other labels than the newest
  one's, are left out and counted.

examples:
  scp -r device:/var/lib/cvforge/evidence .
  python tools/evidence.py evidence --output hard
  python tools/evidence.py evidence --output flicker --kind flicker,jump

exit codes: 0 done    2 command line    4 no usable frame    6 the output folder exists    10 cannot write
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and write the data set."""
    arguments = _parser().parse_args(argv)
    from cvforge.commands.evidence import write_dataset

    written = write_dataset(arguments.evidence, arguments.output, kinds=arguments.kind)
    print("\n".join(written.lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evidence.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("evidence", type=Path, metavar="EVIDENCE", help="folder that run_camera.py --evidence filled")
    add("--output", required=True, type=Path, metavar="FOLDER", help="a new folder")
    add("--kind", type=_kinds, metavar="KIND,...", help="only frames kept for one of these reasons")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    from cvforge_edge.evidence.reason import KINDS

    names = tuple(text.split(","))
    if not set(names) <= set(KINDS):
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted {', '.join(KINDS)} with commas between them")
    return names


if __name__ == "__main__":
    raise SystemExit(run_command(main))
