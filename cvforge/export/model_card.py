"""The page of a bundle that a person reads before using the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cvforge.export.limits import limits
from cvforge.export.plan import ExportPlan
from cvforge.export.score_tables import CLASSES_SHOWN, class_rows, file_rows
from cvforge.export.verify import Reference, Verdict
from cvforge_edge.manifest import Manifest
from cvforge_edge.types import Task

DATA_FINGERPRINTS = "data_fingerprints"
"""Key of the provenance under which a run's fingerprints go, by split."""
_USE = {
    Task.CLASSIFICATION: "says which one of its classes a whole picture shows",
    Task.DETECTION: "finds objects of its classes and draws a box around each",
    Task.SEGMENTATION: "gives every pixel of a picture one of its classes",
}
LABELS_SHOWN = 20


def model_card(manifest: Manifest, verdicts: Sequence[Verdict], *, reference: Reference, plan: ExportPlan) -> str:
    """Markdown; the same export gives the same text, so it holds no times.

    Args:
        manifest: with model files, metrics and provenance.
        verdicts: one a model file.
        reference: the checkpoint.
        plan: what was asked for.
    """
    height, width = manifest.preprocess.size_hw
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        f"A network for {manifest.task.value}: it {_USE[manifest.task]}. "
        f"Input {width} x {height} pixels (width x height, {manifest.preprocess.resize}).",
        "## Intended use\n\n" + _intended_use(manifest, plan),
        "## Scores\n\n" + _scores(verdicts, reference=reference, plan=plan),
        "## Classes\n\n" + _classes(manifest, reference),
        "## Limits\n\n" + _bullets(limits(manifest, reference=reference, plan=plan)),
        "## Data\n\n" + _bullets(_data(plan, reference)),
        "## Run and verify\n\n" + _run(manifest, plan),
        "## Origin\n\n" + _bullets(_origin(plan)),
    ]
    return "\n\n".join(sections) + "\n"


def _intended_use(manifest: Manifest, plan: ExportPlan) -> str:
    if plan.intended_use is not None:
        return plan.intended_use.strip()
    more = f" and {len(manifest.labels) - LABELS_SHOWN} more" if len(manifest.labels) > LABELS_SHOWN else ""
    return (
        f"Its makers have not stated one (`export.intended_use` in the config). It was trained for {manifest.task.value} of "
        f"{', '.join(manifest.labels[:LABELS_SHOWN])}{more} by the config `{plan.provenance.get('config', plan.run_id)}`. "
        "Expect it to work on pictures like those it was trained and scored on, and nowhere else: same kind of camera, "
        "distance, light and objects. Score it on pictures of your own site before relying on it."
    )


def _scores(verdicts: Sequence[Verdict], *, reference: Reference, plan: ExportPlan) -> str:
    primary = reference.primary
    header = ("file", primary, "difference", "MB", "worst output error")
    overall = [(name, value) for name, value in reference.metrics.items() if name != primary and "/" not in name]
    others = ", ".join(f"{name} {value:.3f}" for name, value in overall)
    images = f", {reference.statistics.images} pictures" if reference.statistics is not None else ""
    return "\n\n".join(
        [
            f"`{primary}` on split `{plan.split}`{images}; every file run by the runtime and the code of the device.",
            _table([header, *file_rows(verdicts, reference)]),
            "In brackets: 95 % confidence intervals; those of differences are of pairs on the same pictures. Errors are "
            "fractions of the output's range. Times depend on the machine and are in the `.measurements.json` beside the "
            "bundle.",
            f"The checkpoint's other scores: {others or 'none'}.",
        ]
    )


def _classes(manifest: Manifest, reference: Reference) -> str:
    table = _table(class_rows(manifest.task, manifest.labels, reference))
    if len(manifest.labels) <= CLASSES_SHOWN:
        return table
    return f"The {CLASSES_SHOWN} lowest of {len(manifest.labels)}; `manifest.json` has all.\n\n{table}"


def _data(plan: ExportPlan, reference: Reference) -> list[str]:
    fingerprints: Mapping[str, str] = plan.provenance.get(DATA_FINGERPRINTS, {})
    lines = [f"{split}: {fingerprint}" for split, fingerprint in fingerprints.items()]
    lines.append(f"scored on `{plan.split}`: {plan.data_fingerprint}")
    if reference.statistics is not None:
        lines.append(
            f"`reference_statistics` in `manifest.json`: light, contrast, focus, colours and predictions of the checkpoint on "
            f"these {reference.statistics.images} pictures, for a device to notice that its own have changed"
        )
    return lines


def _run(manifest: Manifest, plan: ExportPlan) -> str:
    return f"""```
python run_camera.py --bundle {manifest.name} --self-test          # replays golden/ and compares
python run_camera.py --bundle {manifest.name} --source 0 --show
python tools/evaluate.py bundles/{manifest.name} --run runs/{plan.run_id}     # the scores above, again
```"""


def _origin(plan: ExportPlan) -> list[str]:
    lines = [f"run: {plan.run_id}"]
    for key, value in plan.provenance.items():
        if key == DATA_FINGERPRINTS or value is None:
            continue
        lines.append(f"{key}: {_listed(value) if isinstance(value, Mapping) else value}")
    return lines


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {entry}" for name, entry in values.items())


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the header; a bar in a cell would end it."""
    header, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
