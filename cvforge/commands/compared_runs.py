"""Several finished runs side by side: what they scored, cost and were made of, and whether that can be compared at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cvforge.commands.model import require_run
from cvforge.config.differences import config_differences
from cvforge.errors import CheckpointError, ConfigError
from cvforge.history import read_history
from cvforge.metrics import classification, detection, segmentation
from cvforge.runs import Run

PRIMARY = {
    "classification": classification.TopKAccuracy.primary,
    "detection": detection.MeanAveragePrecision.primary,
    "segmentation": segmentation.MeanIoU.primary,
}
SPLITS = ("val", "test")
SHOWN_OF_FINGERPRINT = 12


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs.

    Attributes:
        name: of its folder, or its path where two folders have one name.
        run: the folder.
        config: the resolved one, as plain values: an older version may have had other keys.
        summary: `metrics.json`.
        report: `report.json`; empty where the run has none.
        processor: that it was trained on, or nothing.
        history: rows of `metrics.csv`.
    """

    name: str
    run: Run
    config: dict[str, Any]
    summary: dict[str, Any]
    report: dict[str, Any]
    processor: str
    history: list[dict[str, float]]

    @property
    def primary(self) -> str:
        """The score that chose its checkpoint."""
        return str(self.report.get("primary") or PRIMARY[self.run.task])


def open_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """The runs at these paths.

    Raises:
        ConfigError: fewer than two, one that is none, one twice, one that has not finished, or different tasks.
        CheckpointError: the records of one are damaged.
    """
    if len(paths) < 2:
        raise ConfigError(f"found {len(paths)} run, expected two or more to compare")
    problems: list[str] = []
    runs: list[Run] = []
    for path in paths:
        try:
            run = require_run(path)
        except ConfigError as error:
            problems.append(str(error))
            continue
        if any(run.dir.resolve() == other.dir.resolve() for other in runs):
            problems.append(f"{path}: is given twice; give different runs")
        elif not run.metrics.is_file():
            problems.append(
                f"{path}: has not finished (no {run.metrics.name}); tools/train.py --resume {path} goes on with it"
            )
        runs.append(run)
    tasks = sorted({run.task for run in runs}) if not problems else []
    if len(tasks) > 1:
        of_each = ", ".join(f"{run.dir.name} is for {run.task}" for run in runs)
        problems.append(f"runs of different tasks cannot be compared: {of_each}; give runs of one task")
    if problems:
        raise ConfigError("\n".join(problems))
    return [_open(run, name) for run, name in zip(runs, _names(runs), strict=True)]


def warnings(runs: Sequence[ComparedRun]) -> list[str]:
    """Why scores or costs of these runs do not stand for the same thing; empty where they do."""
    found = []
    if len({run.run.labels for run in runs}) > 1:
        found.append("THE CLASSES DIFFER: scores of these runs cannot be compared.")
    for split in SPLITS:
        prints = {run.name: run.run.fingerprints.get(split) for run in runs if split in run.summary}
        if len(set(prints.values())) > 1:
            of_each = ", ".join(f"{name} {short(value)}" for name, value in prints.items())
            found.append(f"THE {split.upper()} DATA DIFFER: {split} scores cannot be compared ({of_each}).")
    if len({run.run.fingerprints.get("train") for run in runs}) > 1:
        found.append("The training data differ: what scores better may be the data, not the config.")
    limits = {run.config.get("trainer", {}).get("limit_val_batches") for run in runs}
    if len(limits) > 1:
        found.append("trainer.limit_val_batches differs: val scores are of different images.")
    if len({run.processor for run in runs}) > 1:
        found.append("The processors differ: times cannot be compared.")
    missing = [run.name for run in runs if not run.report]
    if missing:
        found.append(
            f"Without costs and curves of precision, for want of a report: {', '.join(missing)}; tools/report.py writes one."
        )
    return found


def short(fingerprint: str | None) -> str:
    """Enough of a fingerprint to tell two apart."""
    return "unknown" if fingerprint is None else fingerprint.rpartition(":")[2][:SHOWN_OF_FINGERPRINT]


def score_rows(runs: Sequence[ComparedRun]) -> list[tuple[str, list[float | None]]]:
    """Name and value in each run of every overall score, the one that chose the checkpoint first."""
    rows = []
    for split in SPLITS:
        scores = [run.summary.get(split, {}) for run in runs]
        names = dict.fromkeys(name for values in scores for name in values if "/" not in name)
        for name in sorted(names, key=lambda name: name != runs[0].primary):
            rows.append((f"{split} {name}", [values.get(name) for values in scores]))
    return rows


def class_rows(runs: Sequence[ComparedRun]) -> list[tuple[str, list[float | None]]]:
    """Name and value in each run of every class's validation score, the largest difference first."""
    scores = [run.summary["val"] for run in runs]
    names = dict.fromkeys(name for values in scores for name in values if "/" in name)
    rows = [(name, [values.get(name) for values in scores]) for name in names]
    return sorted(rows, key=lambda row: -_spread(row[1]))


def fact_rows(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    """What else is known: training, data, size and speed, as texts."""
    facts = [_facts(run) for run in runs]
    return [(name, [of_run[name] for of_run in facts]) for name in facts[0] if any(of_run[name] for of_run in facts)]


def differing_keys(runs: Sequence[ComparedRun]) -> list[tuple[str, tuple[str, ...]]]:
    """Config keys that differ, with their value in each run; names of runs are left out."""
    found = config_differences(*(run.config for run in runs))
    return [(key, values) for key, values in found.items() if key != "run.name"]


def as_values(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """Everything for JSON."""
    return {
        "runs": [
            {
                "name": run.name,
                "folder": str(run.run.dir),
                "task": run.run.task,
                "primary": run.primary,
                "metrics": run.summary,
                "costs": run.report.get("costs"),
                "fingerprints": run.run.fingerprints,
                "sizes": run.run.sizes,
            }
            for run in runs
        ],
        "warnings": warnings(runs),
        "config": {key: list(values) for key, values in differing_keys(runs)},
    }


def _open(run: Run, name: str) -> ComparedRun:
    summary = _read(run.metrics)
    if not isinstance(summary.get("val"), dict):
        raise CheckpointError(f"{run.metrics}: holds no validation scores; copy the run again, or train it anew")
    return ComparedRun(
        name=name,
        run=run,
        config=_config(run),
        summary=summary,
        report=_read(run.report_values),
        processor=str(_read(run.environment).get("processor") or ""),
        history=read_history(run.history),
    )


def _config(run: Run) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(run.config.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise CheckpointError(f"{run.config}: cannot be read ({error}); copy the run again") from error


def _read(path: Path) -> dict[str, Any]:
    """A record of a run; nothing where it has none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); copy the run again, or train it anew") from error


def _names(runs: Sequence[Run]) -> list[str]:
    names = [run.dir.resolve().name for run in runs]
    return [str(run.dir) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def _facts(run: ComparedRun) -> dict[str, str]:
    costs, summary = run.report.get("costs", {}), run.summary
    best = summary.get("best_epoch")
    return {
        "best epoch": "" if best is None else f"{best + 1} of {summary['epochs']}",
        "training, min": f"{summary['seconds'] / 60:.1f}" if "seconds" in summary else "",
        "training images": str(run.run.sizes.get("train", "")),
        "val images": str(run.run.sizes.get("val", "")),
        "train fingerprint": short(run.run.fingerprints.get("train")),
        "val fingerprint": short(run.run.fingerprints.get("val")),
        "input": " x ".join(str(side) for side in reversed(run.config.get("preprocess", {}).get("size_hw", []))),
        "parameters, M": f"{costs['parameters'] / 1e6:.2f}" if costs else "",
        "multiplications, billion": f"{costs['multiplications'] / 1e9:.3f}" if costs else "",
        "weights, MB": f"{costs['weights_bytes'] / 1e6:.1f}" if costs else "",
        "PyTorch latency, ms": f"{costs['latency']['median_ms']:.1f}" if costs else "",
    }


def _spread(values: Sequence[float | None]) -> float:
    there = [value for value in values if value is not None]
    return max(there) - min(there) if there else 0.0
