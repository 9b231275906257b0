"""Search hyper-parameters: many trials of one config, each an ordinary run, with values drawn from ranges."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from cvforge.cli import run_command
    from cvforge.commands.options import count
    from cvforge.config.catalog import header, options, runnable_configs
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "hyperband", "none")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

EXAMPLES = """\
ranges, in Hydra's own sweep syntax, in a file (--space: KEY: RANGE, one a line) or here (quoted: shells read brackets):
  'optim.lr=tag(log, interval(1e-4, 1e-2))'    a number, magnitudes drawn evenly
  'model.drop_rate=interval(0.0, 0.4)'         a number
  'augment.operations=int(interval(0, 3))'     a whole number, both ends included
  'data.batch_size=range(8, 33, step=8)'       8, 16, 24, 32: the end is left out, as in Python
  model=edge_nano,edge_lite0                   one of these; also choice(edge_nano, edge_lite0), choice([0.9,1.1], [0.5,1.8])

examples:
  python tools/tune.py --config det_bccd.yaml data.root=/data/BCCD --space detection --trials 40
  python tools/tune.py --config cls_demo.yaml 'optim.lr=tag(log, interval(1e-4, 1e-2))' model=classifier_nano,classifier_lite0
  python tools/tune.py --config cls_demo.yaml --space classification --trials 60 --timeout 2h --workers 2 --pruner hyperband
  python tools/tune.py --config det_bccd.yaml data.root=/data/BCCD --space my/space.yaml --check

what happens:
  The folder of the study holds study.db (SQLite, Optuna's own tables), trials/NNN (runs that evaluate.py, export.py and
  train.py take), report.html, and best.yaml, a config for train.py. The same command continues a study that was stopped or
  killed, each interrupted trial from its checkpoint, until there are --trials in all. Typed in several shells, it works on
  one study with all of them. Trials are judged on the validation set; the test set is not looked at.

exit codes:
  0 done, or out of time    2 config, space or command line    10 cannot write (disk full)
  15 the first trials all failed, or their processes did       130 interrupted, the same command continues
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, and search."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    try:
        from cvforge.commands.tune import Options, tune  # not before --help has had its say
    except ModuleNotFoundError as absent:
        if absent.name not in ("optuna", "cmaes"):
            raise
        parser.error(f"{absent.name} is not installed; in a clone of CVForge: make install EXTRAS=train,tune")
    chosen = Options(
        study=arguments.study,
        trials=arguments.trials,
        workers=arguments.workers,
        timeout_s=arguments.timeout,
        seed=arguments.seed,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        keep=arguments.keep,
        check=arguments.check,
    )
    return tune(arguments.config, arguments.overrides, arguments.space, chosen)


def _parser() -> argparse.ArgumentParser:
    configs = ", ".join(runnable_configs())
    spaces = "\n".join(f"  {name:<16}{header(_space(name))}" for name in options("space"))
    parser = argparse.ArgumentParser(
        prog="tune.py",
        usage="%(prog)s --config NAME [key=value ...] [--space FILE] [key=RANGE ...] [options]",
        description=f"{__doc__}\n\nconfigs: {configs}\n\nspaces:\n{spaces}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, metavar="NAME", help="a name in configs/, or a path to a YAML file, as for train.py")
    add("--space", metavar="FILE", help="a name in configs/space/, or a path to a YAML file of ranges")
    add("--study", type=Path, metavar="FOLDER", help="where the study is or will be (default: tuning/<run.name>)")
    add("--trials", type=count, metavar="N", help="how many, over all calls (default: 20; grid: all combinations)")
    add("--workers", type=count, default=1, metavar="N", help="trials at the same time (default: 1)")
    add("--timeout", type=_duration, metavar="TIME", help="stop then, to be continued: 90s, 30m, 2h, 1d")
    add("--sampler", choices=SAMPLERS, default="tpe", help="how values are drawn (default: tpe)")
    add("--pruner", choices=PRUNERS, default="median", help="which trials are given up early (default: median)")
    add("--seed", type=_seed, default=0, metavar="N", help="of what is drawn; the trials' own is run.seed (default: 0)")
    add("--keep", type=count, default=3, metavar="K", help="checkpoints of the best K trials stay (default: 3)")
    add("--check", action="store_true", help="report every problem of config and space, and stop")
    add("overrides", nargs="*", metavar="key=value", help="values for all trials, and ranges")
    return parser


def _space(name: str) -> Path:
    from cvforge.config.catalog import CONFIGS

    return CONFIGS / "space" / f"{name}.yaml"


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a time such as 90s, 30m, 2h or 1d")
    return float(found[1]) * UNITS_S[found[2]]


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 0")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
