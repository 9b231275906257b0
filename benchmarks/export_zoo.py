"""Every shipped model in every format and precision: what it loses on the task's metric, and whether that is within budget.

    python benchmarks/export_zoo.py --out /tmp/zoo
    python benchmarks/export_zoo.py --out /tmp/zoo --model edge_lite0 --run edge_lite0=runs/det_demo-...

Trains each model of `configs/model` on the rendered shapes of its task (minutes a model; `--run` takes a run that is there
already), converts it, and scores every file through the device runtime on the validation images against the checkpoint.
Files over budget are scored like all others. A table in Markdown is printed and written to `table.md` after each model;
a model that has its line in `--out` is not measured again, so the benchmark can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cvforge.commands.export import SECTIONS, ExportRequest, prepare_export
from cvforge.commands.model import require_run, run_config
from cvforge.commands.terminal import stage_bars
from cvforge.config import build
from cvforge.config.load import load
from cvforge.errors import CVForgeError
from cvforge.export.budget import within_budget
from cvforge.export.bundle import write_and_judge
from cvforge.export.formats import FORMATS, PRECISIONS
from cvforge.export.int8_files import Int8File
from cvforge.export.judge import Judge
from cvforge.export.verify import Reference, Verdict
from cvforge.latency import median_latency_ms
from cvforge_edge.types import Task

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = sorted(path.stem for path in (REPOSITORY / "configs" / "model").glob("*.yaml"))
DEMOS = {Task.CLASSIFICATION: "cls_demo.yaml", Task.DETECTION: "det_demo.yaml", Task.SEGMENTATION: "seg_demo.yaml"}
OWN_LOSS = ("loss=null",)  # torchvision's detectors compute it themselves
LONGER = 3  # times the epochs of the demonstration, for weights that start at random
BYTES_PER_MB = 1e6


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results; may exist")
    parser.add_argument("--model", action="append", choices=MODELS, help="only this one; may be repeated")
    parser.add_argument("--run", action="append", default=[], metavar="MODEL=RUN", help="a trained run of a model")
    return parser


def task_of(target: str) -> Task:
    """The task of a net by the class that builds it."""
    module = target.split(".")[-2]
    if module == "classifier":
        return Task.CLASSIFICATION
    return Task.SEGMENTATION if module in ("lraspp", "smp", "deeplab") else Task.DETECTION


def overrides(model: str) -> tuple[Task, list[str]]:
    """What turns the demonstration of the model's task into a training of the model."""
    section = yaml.safe_load((REPOSITORY / "configs" / "model" / f"{model}.yaml").read_text(encoding="utf-8"))
    task = task_of(section["_target_"])
    found = [f"model={model}"]
    if task is Task.DETECTION and not section["_target_"].endswith("EdgeDetector"):
        found += OWN_LOSS
    if not section.get("weights"):
        epochs = load(DEMOS[task], []).trainer.max_epochs
        found.append(f"trainer.max_epochs={LONGER * epochs}")
    return task, found


def blocker(task: Task, changes: Sequence[str]) -> str | None:
    """Why the model cannot be exported, by its own word."""
    found = build.build_net(load(DEMOS[task], list(changes)), pretrained=False).export_blocker
    return None if found is None else str(found)


def train(model: str, task: Task, changes: Sequence[str], out: Path) -> Path:
    """Train, with the output of training on the terminal; the run's folder."""
    target = out / "runs" / model
    started = ["--config", DEMOS[task], *changes, f"run.dir={target}"]
    command = [sys.executable, str(REPOSITORY / "tools" / "train.py")]
    command += ["--resume", str(target)] if target.exists() else started
    subprocess.run(command, check=True, cwd=REPOSITORY)
    return target


def measure(run_folder: Path) -> dict[str, Any]:
    """Scores of the checkpoint and of every file of one run."""
    run = require_run(run_folder)
    config = run_config(run, (), sections=SECTIONS)
    prepared = prepare_export(run, config, ExportRequest(run_folder, formats=tuple(FORMATS), precisions=PRECISIONS))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch, stage_bars() as stages:
        judge, verdicts, int8 = write_and_judge(
            prepared.source,
            prepared.scoring,
            prepared.plan,
            folder=Path(folder),
            scratch=Path(scratch),
            stages=stages,
            calibration=prepared.calibration,
        )
        latencies_ms = {verdict.model.path: _latency_ms(judge, verdict) for verdict in verdicts}
    searches = {file.verdict.model.path: file for file in int8}
    reference = judge.reference
    assert reference.primary is not None
    return {
        "metric": reference.primary,
        "images": len(prepared.scoring.dataset),
        "checkpoint": reference.metrics[reference.primary],
        "files": [
            {
                **_file(verdict, reference, prepared.plan.metric_budget, searches.get(verdict.model.path)),
                "latency_ms": latencies_ms[verdict.model.path],
            }
            for verdict in verdicts
        ],
    }


def _latency_ms(judge: Judge, verdict: Verdict) -> float:
    """Median of the network in this process, one thread; NaN for a file that does not run."""
    if verdict.failure is not None:
        return float("nan")
    with judge.load(verdict.model) as predictor:
        return median_latency_ms(predictor.backend, judge.reference.inputs_u8[0][None])


def _file(verdict: Verdict, reference: Reference, budget: dict[str, float], int8: Int8File | None) -> dict[str, Any]:
    primary = str(reference.primary)
    loss = reference.metrics[primary] - verdict.metrics.get(primary, float("-inf"))
    return {
        "format": verdict.model.format,
        "precision": verdict.model.precision,
        "loss": loss,
        "holds": within_budget(loss, budget[verdict.model.precision]),
        "failure": verdict.failure,
        "megabytes": verdict.model.size_bytes / BYTES_PER_MB,
        "output_error": max(verdict.parity.values()),
        "float_layers": len(int8.search.float_layers) if int8 is not None else 0,
        "loss_all_int8": int8.search.trials[0].loss if int8 is not None else None,
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """One line a model, one column a format and precision; bold where the budget is missed."""
    columns = [(name, precision) for name in FORMATS for precision in PRECISIONS]
    heads = ["model", "metric", "checkpoint", *(f"{name} {precision}" for name, precision in columns)]
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    for model, result in sorted(results.items()):
        if "blocker" in result:
            cells = [model, "none", "none", f"not exported: {result['blocker']}", *("likewise" for _ in columns[1:])]
        else:
            files = {(file["format"], file["precision"]): file for file in result["files"]}
            cells = [model, f"{result['metric']}, {result['images']} images", f"{result['checkpoint']:.4f}"]
            cells += [_cell(files[column]) for column in columns]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _cell(file: dict[str, Any]) -> str:
    if file["failure"]:
        return f"**{file['failure']}**"
    loss = f"{0.0 - round(file['loss'], 4):+.4f}"
    notes = [f"{file['megabytes']:.2f} MB", f"{file['latency_ms']:.1f} ms"]
    if file["float_layers"]:
        notes.append(f"{file['float_layers']} layers float, without {-file['loss_all_int8']:+.4f}")
    return f"{loss if file['holds'] else f'**{loss}**'} ({', '.join(notes)})"


def main() -> int:
    """Measure the models that are not measured yet, and print the table."""
    arguments = _parser().parse_args()
    given = dict(text.split("=", 1) for text in arguments.run)
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = arguments.out / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(log.read_text(encoding="utf-8")) if log.exists() else {}
    for model in arguments.model or MODELS:
        if model in results:
            continue
        print(f"== {model}", flush=True)
        task, changes = overrides(model)
        reason = blocker(task, changes)
        if reason is not None:
            results[model] = {"blocker": reason}
        else:
            folder = Path(given[model]) if model in given else train(model, task, changes, arguments.out)
            try:
                results[model] = measure(folder)
            except CVForgeError as error:
                print(f"{model}: {error}", file=sys.stderr)
                return error.exit_code
        log.write_text(json.dumps(results, indent=2), encoding="utf-8")
        (arguments.out / "table.md").write_text(table(results), encoding="utf-8")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
