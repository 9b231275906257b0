"""Train an experiment: one YAML file in `configs/` plus overrides, or a run to continue."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from cvforge.cli import run_command
    from cvforge.config.catalog import runnable_configs
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

EXAMPLES = """\
examples:
  python tools/train.py --config det_demo.yaml
  python tools/train.py --config det_coco.yaml data.root=/data/coco trainer.max_epochs=50 optim.lr=0.002
  python tools/train.py --config det_coco.yaml model=ssdlite loss=null --print-config
  python tools/train.py --config det_bccd.yaml data.root=/data/BCCD debug=tiny
  python tools/train.py --config my/experiment.yaml --check
  python tools/train.py --resume runs/det_bccd-20261123-101500 trainer.max_epochs=80

overrides are key=value, in Hydra's grammar:
  model=ssdlite            another option of a group: a file in configs/model/
  optim.lr=0.002           one value; lists as export.formats=[onnx], nothing as augment=null
  "run.name='7'"           text that looks like a number

exit codes:
  0 done            2 config or command line    4 data or image    5 checkpoint or weights
  6 folder taken    10 cannot write             130 interrupted, resumable
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, check the config, and hand it to `fit`."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    if (arguments.config is None) == (arguments.resume is None):
        parser.error(f"give either --config or --resume; configs: {', '.join(runnable_configs())}")
    if arguments.resume is not None:
        return _resume(arguments)
    return _start(arguments)


def _start(arguments: argparse.Namespace) -> int:
    from cvforge.config.load import composed_yaml, load  # not before --help has had its say

    if arguments.print_config:
        print(composed_yaml(arguments.config, arguments.overrides), end="", flush=True)
    config = load(arguments.config, arguments.overrides)
    if arguments.print_config:
        return 0
    if arguments.check:
        print(f"{arguments.config}: OK")
        return 0
    from cvforge.fit import fit

    fit(config)
    return 0


def _resume(arguments: argparse.Namespace) -> int:
    from cvforge.config.load import load_resolved, resolved_yaml
    from cvforge.runs import open_run

    run = open_run(arguments.resume)
    given = Path(arguments.resume)
    checkpoint = given if given.suffix == ".ckpt" else run.checkpoint("last")
    config = load_resolved(run.config, arguments.overrides, require_data=True)
    if arguments.print_config:
        print(resolved_yaml(config), end="")
        return 0
    from cvforge.fit import check_resume, fit

    if arguments.check:
        check_resume(config, checkpoint)
        print(f"{run.dir}: OK, would continue from {checkpoint}")
        return 0
    fit(config, run_dir=run.dir, resume_from=checkpoint)
    return 0


def _parser() -> argparse.ArgumentParser:
    configs = "\n".join(f"  {name:<14}{text}" for name, text in runnable_configs().items())
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="%(prog)s --config NAME [key=value ...] | --resume RUN [key=value ...]",
        description=f"{__doc__}\n\nconfigs:\n{configs}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="NAME", help="a name in configs/, or a path to a YAML file")
    parser.add_argument("--resume", metavar="RUN", help="a run folder, or a checkpoint in it, to continue exactly")
    parser.add_argument("--print-config", action="store_true", help="print the composed config, check it, and stop")
    parser.add_argument("--check", action="store_true", help="report every problem of the config, and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the config")
    return parser


if __name__ == "__main__":
    raise SystemExit(run_command(main))
