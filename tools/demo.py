"""The whole way in minutes: train a detector on rendered images, export, verify, and run it on a clip as a device would."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

try:
    from cvforge.cli import run_command
except ModuleNotFoundError as missing:
    print(f"error: {missing}; set up the environment with `make install`, then use .venv/bin/python", file=sys.stderr)
    raise SystemExit(2) from None

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = "det_demo.yaml"
CLIP_FRAMES = 150
CLIP_SEED = 7
SCORE = "map50"
STEPS = 6


class DemoStepError(Exception):
    """A command of the demonstration failed and has said why; carries its exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run every step with the real commands and show what came of it."""
    arguments = _parser().parse_args(argv)
    os.chdir(REPOSITORY)
    started = time.monotonic()
    run = Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    bundle = Path("bundles") / "demo"
    results = run / "demo"
    overrides = [f"run.dir={run}", *arguments.overrides]
    try:
        _command(1, "train on images that are rendered on the fly", "tools/train.py", "--config", CONFIG, *overrides)
        checkpoint_json = results / "checkpoint.json"
        results.mkdir(parents=True, exist_ok=True)
        _command(2, "score the best checkpoint", "tools/evaluate.py", str(run), "--json", str(checkpoint_json))
        export = ("tools/export.py", "--run", str(run), "--output", str(bundle), "--force")
        _command(3, "convert, verify each file on the validation set, write the bundle", *export)
        self_test = ("deploy/edge/run_camera.py", "--bundle", str(bundle), "--self-test")
        _command(4, "replay the golden vectors as a device does before it trusts a bundle", *self_test)
        clip, annotated = results / "clip.mp4", results / "annotated.mp4"
        _render(clip)
        camera = ("--source", str(clip), "--save", str(annotated), "--json", str(results / "results.jsonl"))
        _command(6, "run the device runtime on it", "deploy/edge/run_camera.py", "--bundle", str(bundle), *camera)
    except DemoStepError as failure:
        return failure.exit_code
    _show(run, bundle, annotated, checkpoint_json=checkpoint_json)
    print(f"\ndone in {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def _command(number: int, title: str, script: str, *arguments: str) -> None:
    """Print a command as a user would type it, and run it."""
    _heading(number, title)
    print(f"$ python {shlex.join([script, *arguments])}\n", flush=True)
    search_path = [str(REPOSITORY), str(REPOSITORY / "deploy" / "edge"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in search_path if entry)}
    code = subprocess.run([sys.executable, script, *arguments], env=environment, check=False).returncode
    if code != 0:
        print(f"\nerror: step {number} ended with exit code {code}; its message is above", file=sys.stderr)
        raise DemoStepError(code)


def _heading(number: int, title: str) -> None:
    print(f"\n[{number}/{STEPS}] {title}", flush=True)


def _render(clip: Path) -> None:
    from cvforge.data.clip import render_clip

    _heading(5, f"render a clip of {CLIP_FRAMES} frames with moving objects")
    render_clip(clip, CLIP_FRAMES, seed=CLIP_SEED)
    print(clip)


def _show(run: Path, bundle: Path, annotated: Path, *, checkpoint_json: Path) -> None:
    from cvforge.commands.terminal import rows_table, stdout_console
    from cvforge.export.beside import report_path
    from cvforge.export.measurements import read_measurements
    from cvforge.runs import open_run
    from cvforge_edge.benchmark.table import cost_rows
    from cvforge_edge.manifest import CHECKPOINT, read_manifest

    manifest = read_manifest(bundle)
    measured = read_measurements(bundle)
    latency_ms = {CHECKPOINT: f"{measured.checkpoint_latency_ms:.1f}"}
    latency_ms |= {path: cells[0] for path, *cells in cost_rows(measured.files)}
    scores = {entry.subject: entry.values for entry in manifest.metrics}
    rows = [
        ("network before training", f"{_untrained_score(run):.3f}", "", "", ""),
    ]
    sizes = {CHECKPOINT: open_run(run).best_checkpoint.stat().st_size}
    sizes |= {model.path: model.size_bytes for model in manifest.models}
    rows += [
        (
            "checkpoint (PyTorch)" if subject == CHECKPOINT else subject,
            f"{scores[subject][SCORE]:.3f}",
            f"{scores[subject]['map']:.3f}",
            f"{size_bytes / 1e6:.2f}",
            latency_ms.get(subject, ""),
        )
        for subject, size_bytes in sizes.items()
    ]
    print()
    table = rows_table("what came of it, on validation images", ("", SCORE, "map", "MB", "ms an image [p95]"), rows)
    stdout_console().print(table)
    images = json.loads(checkpoint_json.read_text(encoding="utf-8"))["images"]
    print(f"scores on {images} images; times of the network alone on one thread; a checkpoint also holds the optimiser")
    print(f"contact sheet:  {run / 'predictions.png'}")
    print(f"training:       {run / 'report.html'} (open it in a browser)")
    print(f"annotated clip: {annotated}")
    print(f"bundle:         {bundle} (read {bundle / 'model_card.md'})")
    print(f"export:         {report_path(bundle)} (likewise)")


def _untrained_score(run: Path) -> float:
    """What the same network scores with random weights, on some validation images."""
    from cvforge.commands.model import run_manifest
    from cvforge.config import build
    from cvforge.config.load import load_resolved
    from cvforge.evaluation import evaluate
    from cvforge.export.torch_backend import TorchBackend
    from cvforge.runs import open_run
    from cvforge_edge.predictor import Predictor

    opened = open_run(run)
    config = load_resolved(opened.config)
    manifest = run_manifest(config, opened.labels, name="untrained")
    predictor = Predictor(TorchBackend(build.build_net(config, pretrained=False)), manifest)
    predictor = predictor.with_postprocess(build.build_evaluation_postprocess(config))
    metric = build.build_metric(config, opened.labels)
    return evaluate(predictor, build.build_dataset(config, "val"), metric, limit=50)[SCORE]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo.py",
        usage="%(prog)s [key=value ...]",
        description=__doc__,
        epilog="Each step prints the command that it runs. A run goes to runs/demo-DATE-TIME, the bundle to bundles/demo.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to configs/det_demo.yaml")
    return parser


if __name__ == "__main__":
    raise SystemExit(run_command(main))
