"""Write the report of a run anew: report.html, for people, and report.json, for programs; training writes both at its end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from cvforge.cli import run_command
    from cvforge.commands.options import count
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

EXAMPLES = """\
examples:
  python tools/report.py runs/det_bccd-20261123-101500                          # an older run, or one that was stopped
  python tools/report.py runs/det_bccd-20261123-101500 data.root=/data/BCCD     # data that were moved since
  python tools/report.py runs/det_coco-20261123-101500 --limit 500              # a quick look at a large validation set

The best checkpoint is scored once more on the validation set. Figures are of all these images; images are drawn, and times
measured, of a few.

exit codes:
  0 done     2 command line or config     4 data or image     5 checkpoint     10 cannot write
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, score, and say where the report lies."""
    arguments = _parser().parse_intermixed_args(argv)
    from cvforge.commands.report import report_run

    report = report_run(arguments.run, overrides=arguments.overrides, limit=arguments.limit)
    print(f"report: {report.page}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="report.py",
        usage="%(prog)s RUN [options] [key=value ...]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--limit", type=count, metavar="N", help="score N validation images only, spread evenly")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="where data are, such as data.root=/data/bccd"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(run_command(main))
