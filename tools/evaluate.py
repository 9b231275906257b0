"""Score a run's checkpoint or a bundle's model file on a data set: the same code, the same table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from cvforge.cli import run_command
    from cvforge.commands.options import add_model_options, count, new_file, open_chosen_model
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

EXAMPLES = """\
examples:
  python tools/evaluate.py runs/det_bccd-20261123-101500                       # the best checkpoint on val
  python tools/evaluate.py runs/det_bccd-20261123-101500 --split test
  python tools/evaluate.py bundles/det_bccd --run runs/det_bccd-20261123-101500  # the exported file, same data
  python tools/evaluate.py bundles/det_bccd --backend onnxruntime --precision fp16 \\
      --config det_bccd.yaml data.root=/data/bccd
  python tools/evaluate.py runs/det_coco-20261123-101500 --detections found.json  # for pycocotools or COCO's server

A bundle holds no paths, so it has to be told where data are: by --run, or by --config and data.root.

exit codes:
  0 done     2 command line or config     4 data or image     5 checkpoint     7 bundle     10 cannot write
  11 inference runtime
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, score, and print the table."""
    arguments = _parser().parse_intermixed_args(argv)
    from cvforge.commands.evaluate import evaluate_model
    from cvforge.commands.terminal import metric_table, stdout_console

    model = open_chosen_model(arguments)
    with model.predictor:
        result = evaluate_model(
            model,
            split=arguments.split,
            config=arguments.config,
            run=arguments.run,
            overrides=arguments.overrides,
            limit=arguments.limit,
            detections=arguments.detections,
        )
    print(f"{result.model}: {result.images} images of {result.split}")
    stdout_console().print(metric_table(result.metrics))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result.as_dict(), indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        usage="%(prog)s RUN_OR_BUNDLE [options] [key=value ...]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", type=Path, metavar="RUN_OR_BUNDLE", help="folder of a run or of a bundle")
    add("--split", default="val", choices=("val", "test", "train"), help="part of the data (default: %(default)s)")
    add(
        "--config",
        metavar="NAME",
        help="a config that says which data, with data.root=PATH (default: a run's own data)",
    )
    add("--run", type=Path, metavar="RUN", help="a run that says which data")
    add_model_options(parser)
    add("--limit", type=count, metavar="N", help="score N images only, spread evenly")
    add("--json", type=new_file, metavar="FILE", help="write the scores there, too")
    add("--detections", type=new_file, metavar="FILE", help="COCO data: write what was found, in COCO's result format")
    add("overrides", nargs="*", metavar="key=value", help="changes to the config, such as data.root=/data/bccd")
    return parser


if __name__ == "__main__":
    raise SystemExit(run_command(main))
