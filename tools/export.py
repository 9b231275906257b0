"""Export a run: ONNX and TensorFlow Lite files, each judged on the task's metric, in one bundle for devices."""

from __future__ import annotations

import argparse
import difflib
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

try:
    from cvforge.cli import run_command
    from cvforge.commands.keys import add_key_option
    from cvforge.commands.options import count
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

COMMANDS = {
    "import": "cvforge.commands.import_model",
    "keygen": "cvforge.commands.keygen",
    "sign": "cvforge.commands.sign",
    "verify": "cvforge.commands.verify",
    "pack": "cvforge.commands.pack",
    "unpack": "cvforge.commands.unpack",
    "savedmodel": "cvforge.commands.savedmodel",
}
"""Sub-command -> module with `main(arguments) -> exit code`; without one, a run is exported."""

EXAMPLES = """\
what happens:
  1. the network is traced once and converted; normalisation and box decoding go into the graph
  2. raw outputs of each file are compared with PyTorch on real validation images: their noise (export.tensor_tolerance) and
     their worst value (export.tensor_peak)
  3. each file is scored on the validation set by the code that runs on the device, and what it reports there is compared with
     what the checkpoint reports: boxes found again, their overlap and scores; or classes; or pixels
  4. a file that loses more than its budget (export.metric_budget in the config) stops the export: exit code 3, no bundle; the
     tables are shown and FOLDER.failed.json holds every measurement
  5. int8 files are made of the fp32 ones: ranges are measured on training images, and while a file loses more than its budget
     the layers with the most noise go back to float, one by one
  6. the bundle is written: manifest.json, model files, golden/ (real images with expected outputs), model_card.md;
     the same checkpoint gives the same bytes
  7. each file is measured on this machine, in processes that take turns: latency with 1 to n threads, memory, cold start. Beside
     the bundle lie FOLDER.report.html (one page with all tables, open it in a browser), FOLDER.pareto.png (score against
     latency against size) and FOLDER.measurements.json

examples:
  python tools/export.py --run runs/det_bccd-20261123-101500
  python tools/export.py --run runs/det_bccd-20261123-101500 --format tflite --precision fp16 --output bundles/cells
  python tools/export.py --run runs/det_bccd-20261123-101500 --precision fp32,int8
  python tools/export.py --run runs/det_bccd-20261123-101500 --format onnx --batch    # for a server as well
  python tools/export.py --run runs/det_bccd-20261123-101500 --force export.metric_budget.fp16=0.005
  python tools/export.py --run runs/det_bccd-20261123-101500 data.root=/data/bccd     # the data have moved

  python tools/export.py --run runs/det_bccd-20261123-101500 --model-version 3 --sign ~/keys/team-a.key

for TensorFlow Serving:
  savedmodel               python tools/export.py savedmodel --help

with a network that was trained elsewhere:
  import                   python tools/export.py import --help

with a finished bundle (each has its own --help):
  keygen, sign, verify     python tools/export.py keygen --output ~/keys/team-a.key
  pack, unpack             python tools/export.py pack --bundle bundles/det_bccd

then:
  python deploy/edge/run_camera.py --bundle bundles/det_bccd --self-test --source 0 --show
  python deploy/edge/benchmark.py --bundle bundles/det_bccd                           # on the device: what it costs there
  python tools/evaluate.py bundles/det_bccd --run runs/det_bccd-20261123-101500

exit codes:
  0 done          2 command line or config     3 over budget               4 data or image      5 checkpoint
  6 bundle exists (--force replaces it)        10 cannot write (disk full)  11 runtime missing   12 not convertible
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and make the bundle, or hand over to the sub-command that it names."""
    signal.signal(signal.SIGTERM, _stop)  # so that a draft folder is removed
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return int(importlib.import_module(COMMANDS[words[0]]).main(words[1:]))
    parser = _parser()
    if words and not words[0].startswith("-") and "=" not in words[0]:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        advice = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"found {words[0]!r}, accepted --run RUN, or one of {', '.join(COMMANDS)}{advice}")
    arguments = parser.parse_intermixed_args(words)
    from cvforge.commands.export import ExportRequest, export_run, parse_names
    from cvforge.commands.export_report import print_report

    report, beside = export_run(
        ExportRequest(
            run=arguments.run,
            checkpoint=arguments.checkpoint,
            formats=parse_names(arguments.format) if arguments.format is not None else None,
            precisions=parse_names(arguments.precision) if arguments.precision is not None else None,
            output=arguments.output,
            name=arguments.name,
            force=arguments.force,
            limit=arguments.limit,
            keys=tuple(arguments.keys),
            model_version=arguments.model_version,
            measure=arguments.measure,
            batch=arguments.batch,
            overrides=tuple(arguments.overrides),
        )
    )
    print_report(report, beside)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py",
        usage="%(prog)s --run RUN [options] [key=value ...]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--run", required=True, type=Path, metavar="RUN", help="folder of a run, as tools/train.py makes it")
    add("--checkpoint", default="best", metavar="WHICH", help="best (default), last, or the path of a .ckpt file")
    add("--format", metavar="LIST", help="onnx,tflite (default: export.formats of the config)")
    add("--precision", metavar="LIST", help="fp32,fp16,int8 (default: export.precisions of the config)")
    batch_help = (
        "also onnx files that take any number of images at once, for servers (model_fp32_batch.onnx); judged like the "
        "others, never run by devices"
    )
    add("--batch", action="store_true", help=batch_help)
    add("--output", type=Path, metavar="FOLDER", help="the bundle's folder (default: bundles/NAME)")
    add("--name", metavar="NAME", help="of the model on the device (default: the run's name)")
    version_help = (
        "of the bundle (default: %(default)s); raise it with every release, devices with --trust never go back"
    )
    add("--model-version", type=count, default=1, metavar="N", help=version_help)
    add_key_option(parser, "--sign", required=False)
    add("--force", action="store_true", help="replace a bundle that is there already, in one step, at the end")
    measure_help = "leave out step 7's times and memory, some 20 s (also: export.measure=false)"
    add("--no-measure", dest="measure", action="store_const", const=False, help=measure_help)
    add("--limit", type=count, metavar="N", help="score on N validation images only, spread evenly; the bundle says so")
    add(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes to export.*, evaluation.* or data.* of the run's config",
    )
    return parser


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(run_command(main))
