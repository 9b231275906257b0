"""The page of a bundle that a person reads before using the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cvforge.export.plan import ExportPlan
from cvforge.export.verify import Reference, Verdict
from cvforge_edge.manifest import CHECKPOINT, Manifest
from cvforge_edge.types import Task

_USE = {
    Task.CLASSIFICATION: "says which one of its classes a whole picture shows",
    Task.DETECTION: "finds objects of its classes and draws a box around each",
    Task.SEGMENTATION: "gives every pixel of a picture one of its classes",
}
BYTES_PER_MB = 1e6
LABELS_SHOWN = 100
_UNITS = (
    "Times are medians of the network alone, one thread, on the exporting machine; errors are fractions of the output's "
    "range."
)


def model_card(manifest: Manifest, verdicts: Sequence[Verdict], *, reference: Reference, plan: ExportPlan) -> str:
    """Markdown: intended use, scores of every file, training data, versions, limits.

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
        "## Classes\n\n" + _labels(manifest.labels),
        "## Scores\n\n" + _scores(verdicts, reference=reference, plan=plan),
        *plan.card_sections,
        "## Intended use\n\nPictures like those it was trained and scored on: same kind of camera, distance, light "
        "and objects. Score it on pictures of your own site before relying on it (`tools/evaluate.py`).",
        "## Limits\n\n" + _limits(manifest, plan),
        "## Origin\n\n" + _origin(plan.provenance, plan),
    ]
    return "\n\n".join(sections) + "\n"


def _scores(verdicts: Sequence[Verdict], *, reference: Reference, plan: ExportPlan) -> str:
    primary = reference.primary
    if primary is None:
        return _comparison(verdicts, reference=reference)
    expected = reference.metrics[primary]
    rows = [f"| {CHECKPOINT} | {expected:.4f} | | | {reference.latency_ms:.1f} | |"]
    for verdict in verdicts:
        value, size_mb = verdict.metrics[primary], verdict.model.size_bytes / BYTES_PER_MB
        worst = max(verdict.parity.values())
        rows.append(
            f"| {verdict.model.path} | {value:.4f} | {value - expected:+.4f} | {size_mb:.2f} | "
            f"{verdict.latency_ms:.1f} | {worst:.1e} |"
        )
    others = ", ".join(f"{name} {value:.4f}" for name, value in reference.metrics.items() if name != primary)
    return "\n".join(
        [
            f"`{primary}` on split `{plan.split}` (data {plan.data_fingerprint}), every file run by the device runtime.",
            "",
            f"| file | {primary} | difference | MB | ms an image | worst output error |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            _UNITS,
            "",
            f"The checkpoint's other scores: {others or 'none'}.",
        ]
    )


def _comparison(verdicts: Sequence[Verdict], *, reference: Reference) -> str:
    rows = [
        f"| {verdict.model.path} | {verdict.model.size_bytes / BYTES_PER_MB:.2f} | {verdict.latency_ms:.1f} | "
        f"{max(verdict.parity.values()):.1e} |"
        for verdict in verdicts
    ]
    return "\n".join(
        [
            f"Not scored: there were {len(reference.inputs_u8)} images without truth, on which outputs were compared.",
            "",
            "| file | MB | ms an image | worst output error |",
            "|---|---|---|---|",
            *rows,
            "",
            _UNITS,
        ]
    )


def _labels(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
    return ", ".join(labels[:LABELS_SHOWN]) + more


def _limits(manifest: Manifest, plan: ExportPlan) -> str:
    lines = [
        f"- It knows these {len(manifest.labels)} classes and nothing else.",
        "- The figures above are of one set of images; they say nothing about other places, cameras or groups of people.",
        f"- `golden/` holds up to {plan.golden_images} pictures of that set: whoever gets the bundle gets them too.",
    ]
    if manifest.task is Task.DETECTION:
        lines.append(
            f"- On the device, objects below score {manifest.postprocess.score_threshold:g} are not reported; the scores "
            "above count all candidates."
        )
    if any(model.precision == "fp16" for model in manifest.models):
        lines.append("- fp16 files store weights in half precision and compute in single precision.")
    return "\n".join(lines)


def _origin(provenance: Mapping[str, Any], plan: ExportPlan) -> str:
    lines = [f"- run: {plan.run_id}"]
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            lines.append(f"- {key}: " + ", ".join(f"{name} {entry}" for name, entry in value.items()))
        elif value is not None:
            lines.append(f"- {key}: {value}")
    return "\n".join(lines)
