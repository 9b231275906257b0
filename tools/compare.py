"""Put runs side by side: scores, time, size, data and the config keys that differ; on request a page with their curves."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from cvforge.cli import run_command
    from cvforge.commands.options import new_file
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

EXAMPLES = """\
examples:
  python tools/compare.py runs/det_bccd-20261123-101500 runs/det_bccd-20261123-114000
  python tools/compare.py runs/det_bccd-20261123-101500 runs/det_bccd-20261123-114000 --output compare.html
  python tools/compare.py runs/det_bccd-20261123-101500 runs/det_bccd-20261123-114000 --json compare.json

Runs that were validated on different images, or know different classes, get a warning: their scores mean different things.

exit codes:
  0 done     2 command line, not a run, not finished, or different tasks     5 a damaged run     10 cannot write
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, show the tables, and write what was asked for."""
    arguments = _parser().parse_args(argv)
    from cvforge.commands.compare import print_comparison, write_comparison
    from cvforge.commands.compared_runs import as_values, open_runs

    runs = open_runs(arguments.runs)
    print_comparison(runs)
    if arguments.output is not None:
        write_comparison(runs, arguments.output)
        print(f"page: {arguments.output}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_values(runs), indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compare.py",
        usage="%(prog)s RUN RUN [RUN ...] [options]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs of one task")
    add("--output", type=new_file, metavar="FILE", help="write a page with tables and overlaid curves (HTML, one file)")
    add("--json", type=new_file, metavar="FILE", help="write everything there, too")
    return parser


if __name__ == "__main__":
    raise SystemExit(run_command(main))
