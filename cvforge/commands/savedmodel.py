"""Make a SavedModel of a run for TensorFlow Serving, judged in TensorFlow on the validation set before it is kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cvforge.commands.options import count

EXAMPLES = """\
A bundle is what devices get; this is what servers with TensorFlow Serving get. The folder is laid out as they expect it:
  DIR/VERSION/saved_model.pb                            graph and weights, standard operators only
  DIR/VERSION/assets.extra/cvforge_manifest.json        labels, pre- and post-processing, scores; TensorFlow ignores it
Signature serving_default: input `image` (batch, height, width, 3) uint8 RGB, fitted to the network's size as the
manifest's `preprocess` says; outputs by name as in every export: `boxes` and `scores`, or `probs`, or `logits`, float32.

what happens:
  1. the network is traced and converted as for devices (TensorFlow Lite, fp32) and that file is written anew, operator by
     operator, in TensorFlow; all images of a batch at once where that gives the same answers, else one by one
  2. raw outputs are compared with PyTorch, and the SavedModel is scored on the validation set, by TensorFlow itself in a
     process of its own; more loss than export.metric_budget.fp32 stops with exit code 3
  3. the folder gets its name in one step, so that a running server sees a whole version or none

It needs tensorflow, an extra of its own: make install EXTRAS=train,export,tensorflow,dev

examples:
  python tools/export.py savedmodel --run runs/det_bccd-20261123-101500
  python tools/export.py savedmodel --run runs/det_bccd-20261123-101500 --output savedmodels/cells --model-version 2
  python tools/export.py savedmodel --run runs/det_bccd-20261123-101500 data.root=/data/bccd     # the data have moved

then:
  docker run --rm -p 127.0.0.1:8501:8501 -v "$PWD/savedmodels/det_bccd:/models/det_bccd:ro" -e MODEL_NAME=det_bccd \\
    tensorflow/serving
  curl http://127.0.0.1:8501/v1/models/det_bccd/metadata

exit codes:
  0 done          2 command line or config     3 over budget               4 data or image         5 checkpoint
  6 this version exists already                10 cannot write (disk full)  11 tensorflow missing   12 not convertible
"""


def main(argv: Sequence[str]) -> int:
    """Parse the command line, write the SavedModel, and say what was measured."""
    arguments = _parser().parse_intermixed_args(argv)
    from cvforge.commands.export import SECTIONS, ExportRequest, prepare_export
    from cvforge.commands.export_report import agreement_table, report_table
    from cvforge.commands.model import require_run, run_config
    from cvforge.commands.terminal import stage_bars, stdout_console
    from cvforge.errors import ConfigError
    from cvforge.export.savedmodel.write import SINGLE, check_version_folder, write_savedmodel
    from cvforge_edge.manifest import name_problems

    run = require_run(arguments.run)
    without_batch_file = (*arguments.overrides, "export.batch=false")  # that is an ONNX file; this takes batches itself
    config = run_config(run, without_batch_file, sections=SECTIONS)
    name = arguments.name or config.run.name
    if name_problems(name):
        raise ConfigError(f"--name: {'; '.join(name_problems(name))}; give --name")
    target = (arguments.output or Path("savedmodels") / name).resolve() / str(arguments.model_version)
    check_version_folder(target)  # before the work starts
    request = ExportRequest(
        run=arguments.run,
        checkpoint=arguments.checkpoint,
        formats=SINGLE[:1],
        precisions=SINGLE[1:],
        name=name,
        limit=arguments.limit,
        model_version=arguments.model_version,
        overrides=tuple(arguments.overrides),
    )
    prepared = prepare_export(run, config, request)
    with stage_bars() as stages:
        report = write_savedmodel(prepared.source, prepared.scoring, prepared.plan, target=target, stages=stages)
    stdout_console().print(report_table(report))
    stdout_console().print(agreement_table(report))
    made = report.manifest.provenance["savedmodel"]
    folder = target.parent.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target.parent
    print(f"batches:    {made['batch']}")
    print(f"savedmodel: {folder}, version {target.name}, made with tensorflow {made['tensorflow']}")
    print(f"next:       docker run --rm -p 127.0.0.1:8501:8501 -v {target.parent}:/models/{name}:ro \\")
    print(f"              -e MODEL_NAME={name} tensorflow/serving")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py savedmodel",
        usage="%(prog)s --run RUN [options] [key=value ...]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--run", required=True, type=Path, metavar="RUN", help="folder of a run, as tools/train.py makes it")
    add("--checkpoint", default="best", metavar="WHICH", help="best (default), last, or the path of a .ckpt file")
    add("--output", type=Path, metavar="DIR", help="holds one folder for each version (default: savedmodels/NAME)")
    add("--name", metavar="NAME", help="of the model (default: the run's name)")
    version_help = "of the model, the folder inside DIR (default: %(default)s); a server takes the highest"
    add("--model-version", type=count, default=1, metavar="N", help=version_help)
    add("--limit", type=count, metavar="N", help="score on N validation images only; the manifest says so")
    changes = "changes to export.*, evaluation.* or data.* of the run's config"
    add("overrides", nargs="*", metavar="key=value", help=changes)
    return parser
