"""Measures what each model file of a bundle costs on this machine: torch-free, this folder is all it needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.cli import run_command
from cvforge_edge.standard_error import keep_standard_error

if TYPE_CHECKING:
    from cvforge_edge.benchmark.measure import BenchmarkPlan

DESCRIPTION = "Measure what each model file of a bundle costs on this machine: time of an image, memory, start."
EPILOG = """examples:
  python benchmark.py --bundle bundle
  python benchmark.py --bundle bundle --threads 1,4 --rounds 10
  python benchmark.py --bundle bundle --json costs.json                             # for programs
  python benchmark.py --bundle bundle --backend litert-builtin                      # where the self-test fell back to it
  python benchmark.py --bundle bundle --trust /etc/cvforge/trust                    # only what a known key has signed

what is measured, on a golden image of the bundle, each file in a process of its own, in rounds:
  1 thread       the network alone: half of the runs were faster, and [95 %] of them
  best           the same with the number of threads that is fastest
  pipeline       preprocessing, network and postprocessing, one thread
  memory         largest resident memory of the process, one thread, in 1e6 bytes
  start          from the start of the process to its first prediction; the bundle is in the disk cache

Run it on a quiet machine, after run_camera.py --self-test: a wrong answer can be quick.

exit codes:
  0 done                        7 bundle damaged or not trusted      11 a file cannot be measured: its row says why
  1 unexpected error           10 cannot write --json               130 stopped by a signal
  2 wrong options
"""
STANDARD_OUTPUT = "-"


def main() -> int:
    """Run the command line; the exit code is the result."""
    options = parse_options(sys.argv[1:])
    from cvforge_edge.benchmark.document import benchmark_text, write_benchmark
    from cvforge_edge.benchmark.machine import this_machine
    from cvforge_edge.benchmark.measure import failures, measure_bundle
    from cvforge_edge.benchmark.table import cost_header, cost_rows, text_table
    from cvforge_edge.bundle import open_bundle
    from cvforge_edge.errors import BackendError
    from cvforge_edge.trust import read_optional_trust

    bundle = open_bundle(options.bundle, trust=read_optional_trust(options.trust))
    costs = measure_bundle(bundle, plan_of(options), progress=_progress)
    machine = this_machine()
    text = benchmark_text(bundle, machine, costs)
    if options.json == STANDARD_OUTPUT:
        sys.stdout.write(text)
    else:
        title = f"{bundle.manifest.name} on {machine}"
        table = text_table(("file", *cost_header(costs)), cost_rows(costs))
        sys.stdout.write(f"{title}\n{table}\n")
        if options.json is not None:
            write_benchmark(Path(options.json), text)
    left_out = [model.path for model in bundle.manifest.models if model.path not in costs]
    if left_out:
        sys.stderr.write(f"left out, since no runtime for them is installed or chosen: {', '.join(left_out)}\n")
    for path, reason in failures(costs).items():
        sys.stderr.write(f"{path}: not measured: {reason}\n")
    return BackendError.exit_code if failures(costs) else 0


def plan_of(options: argparse.Namespace) -> BenchmarkPlan:
    """How the options want files to be measured."""
    from cvforge_edge.benchmark.measure import BenchmarkPlan, thread_counts, usable_cores

    return BenchmarkPlan(
        threads=options.threads or thread_counts(usable_cores()),
        rounds=options.rounds,
        time_limit_s=options.time_limit,
        backend=options.backend,
        trust=options.trust,
    )


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """The checked options; ends the process with code 2 and a message where they are wrong."""
    from cvforge_edge.backends import BACKENDS
    from cvforge_edge.benchmark.measure import ROUNDS, TIME_LIMIT_S

    parser = argparse.ArgumentParser(
        prog="benchmark.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--bundle", required=True, metavar="FOLDER", help="model bundle, as tools/export.py writes it")
    add("--backend", metavar="NAME", choices=tuple(BACKENDS), help=f"one of {', '.join(BACKENDS)} (default: installed)")
    add(
        "--threads", type=_counts, metavar="LIST", help="such as 1,2,4 (default: 1, 2, 4, 8, as far as there are cores)"
    )
    add("--rounds", type=_count, default=ROUNDS, metavar="N", help="processes for each file (default: %(default)s)")
    limit_help = "after which a process is taken for hung (default: %(default)g)"
    add("--time-limit", type=_seconds, default=TIME_LIMIT_S, metavar="SECONDS", help=limit_help)
    add(
        "--json",
        type=_new_file,
        metavar="FILE",
        help="write the figures as JSON; - is standard output, instead of the table",
    )
    trust_help = "folder of public keys (*.pub), or one: measure only what one of them has signed"
    add("--trust", type=Path, metavar="PATH", help=trust_help)
    return parser.parse_args(arguments)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rmeasuring: {done} of {total} processes" + ("\n" if done == total else ""))
        sys.stderr.flush()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted whole numbers of at least 1")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({_count(part.strip()) for part in text.split(",")}))


def _new_file(text: str) -> str:
    """Told before the minutes of measuring, not after them."""
    if text != STANDARD_OUTPUT and (Path(text).is_dir() or not Path(text).parent.is_dir()):
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted a file in a folder that exists, or -")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted seconds above 0")
    return value


if __name__ == "__main__":
    keep_standard_error()
    sys.exit(run_command(main))
