"""The page of a bundle that a person reads before using the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cvforge.export.judged_by import LIMITS_MEANING, OVERRIDES, changes_text, limit_rows, loosened
from cvforge.export.limits import limits
from cvforge.export.plan import ExportPlan
from cvforge.export.score_tables import CLASSES_SHOWN, agreement_rows, class_rows, comparison_rows, file_rows
from cvforge.export.verify import Reference, Verdict
from cvforge_edge.manifest import Manifest
from cvforge_edge.stats.embedding import EmbeddingStatistics
from cvforge_edge.types import Task

DATA_FINGERPRINTS = "data_fingerprints"
"""Key of the provenance under which a run's fingerprints go, by split."""
_USE = {
    Task.CLASSIFICATION: "says which one of its classes a whole picture shows",
    Task.DETECTION: "finds objects of its classes and draws a box around each",
    Task.SEGMENTATION: "gives every pixel of a picture one of its classes",
}
_UNITS = (
    "Errors are fractions of the output's range, those of a box times its score. Times depend on the machine and are in the "
    "`.measurements.json` beside the bundle."
)
IMPORTED = "imported"
"""Key of the provenance of a network that CVForge did not train, and the id of the run that it does not have."""
LABELS_SHOWN = 20
SHARES = (0.5, 0.95, 0.99)
"""Of the pictures; the card says within what distance so many lie."""


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
        "## Judged by\n\n" + _judged_by(plan, reference),
        *_agreement(verdicts),
        *plan.card_sections,
        "## Classes\n\n" + _classes(manifest, reference),
        "## Limits\n\n" + _bullets(limits(manifest, reference=reference, plan=plan)),
        "## Data\n\n" + _bullets(_data(plan, reference)),
        "## Run and verify\n\n" + _run(manifest, plan, reference),
        "## Origin\n\n" + _bullets(_origin(plan)),
    ]
    return "\n\n".join(sections) + "\n"


def _intended_use(manifest: Manifest, plan: ExportPlan) -> str:
    if plan.intended_use is not None:
        return plan.intended_use.strip()
    more = f" and {len(manifest.labels) - LABELS_SHOWN} more" if len(manifest.labels) > LABELS_SHOWN else ""
    by = "elsewhere" if IMPORTED in plan.provenance else f"by the config `{plan.provenance.get('config', plan.run_id)}`"
    return (
        f"Its makers have not stated one (`export.intended_use` in the config). It was trained for {manifest.task.value} of "
        f"{', '.join(manifest.labels[:LABELS_SHOWN])}{more} {by}. "
        "Expect it to work on pictures like those it was trained and scored on, and nowhere else: same kind of camera, "
        "distance, light and objects. Score it on pictures of your own site before relying on it."
    )


def _scores(verdicts: Sequence[Verdict], *, reference: Reference, plan: ExportPlan) -> str:
    primary = reference.primary
    if primary is None:
        return _comparison(verdicts, reference)
    header = ("file", primary, "difference", "MB", "worst output error")
    overall = [(name, value) for name, value in reference.metrics.items() if name != primary and "/" not in name]
    others = ", ".join(f"{name} {value:.3f}" for name, value in overall)
    images = f", {reference.statistics.images} pictures" if reference.statistics is not None else ""
    return "\n\n".join(
        [
            f"`{primary}` on split `{plan.split}`{images}; every file run by the runtime and the code of the device.",
            _table([header, *file_rows(verdicts, reference)]),
            f"In brackets: 95 % confidence intervals; those of differences are of pairs on the same pictures. {_UNITS}",
            f"The checkpoint's other scores: {others or 'none'}.",
        ]
    )


def _comparison(verdicts: Sequence[Verdict], reference: Reference) -> str:
    images = len(reference.inputs_u8)
    return "\n\n".join(
        [
            f"Not scored: there were {images} images without truth, on which outputs were compared.",
            _table([("file", "MB", "worst output error"), *comparison_rows(verdicts)]),
            _UNITS,
        ]
    )


def _judged_by(plan: ExportPlan, reference: Reference) -> str:
    unscored = " Nothing was scored, so only the limits of raw outputs counted." if reference.primary is None else ""
    return "\n\n".join(
        [
            f"A file that goes beyond one of these limits is in no bundle; {LIMITS_MEANING}{unscored}",
            _table(limit_rows(plan)),
            *loosened(plan),
            changes_text(plan.provenance),
        ]
    )


def _agreement(verdicts: Sequence[Verdict]) -> list[str]:
    known = [verdict.agreement for verdict in verdicts if verdict.agreement is not None]
    if not known:
        return []
    title = f"## Agreement with the checkpoint\n\nAnswers to the same {known[0].images} pictures, right or wrong."
    return [title, _table(agreement_rows(verdicts)), known[0].MEANING]


def _classes(manifest: Manifest, reference: Reference) -> str:
    if reference.primary is None:
        more = len(manifest.labels) - CLASSES_SHOWN
        return ", ".join(manifest.labels[:CLASSES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    table = _table(class_rows(manifest.task, manifest.labels, reference))
    if len(manifest.labels) <= CLASSES_SHOWN:
        return table
    return f"The {CLASSES_SHOWN} lowest of {len(manifest.labels)}; `manifest.json` has all.\n\n{table}"


def _data(plan: ExportPlan, reference: Reference) -> list[str]:
    fingerprints: Mapping[str, str] = plan.provenance.get(DATA_FINGERPRINTS, {})
    lines = [f"{split}: {fingerprint}" for split, fingerprint in fingerprints.items()]
    done = "compared" if reference.primary is None else "scored"
    lines.append(f"{done} on `{plan.split}`: {plan.data_fingerprint}")
    if reference.statistics is not None:
        lines.append(
            f"`reference_statistics` in `manifest.json`: light, contrast, focus, colours and predictions of the checkpoint on "
            f"these {reference.statistics.images} pictures, for a device to notice that its own have changed"
        )
        if reference.statistics.embedding is not None:
            lines.append(_embedding(reference.statistics.embedding, layer=plan.embedding or "unknown"))
    return lines


def _embedding(embedding: EmbeddingStatistics, *, layer: str) -> str:
    distances = embedding.distances
    spread = ", ".join(f"{share:.0%} within {distances.quantile(share):.2f}" for share in SHARES if distances.count)
    return (
        f"embedding: layer `{layer}`, {embedding.width} numbers, mean and covariance of {embedding.images} pictures; distance "
        f"of each from others, where about 1 is usual: {spread or 'not measured'}"
    )


def _run(manifest: Manifest, plan: ExportPlan, reference: Reference) -> str:
    data = "--config NAME data.root=FOLDER" if IMPORTED in plan.provenance else f"--run runs/{plan.run_id}"
    result = "scores on your own data" if reference.primary is None else "the scores above, again"
    return f"""```
python run_camera.py --bundle {manifest.name} --self-test          # replays golden/ and compares
python run_camera.py --bundle {manifest.name} --source 0 --show
python tools/evaluate.py bundles/{manifest.name} {data}     # {result}
```"""


def _origin(plan: ExportPlan) -> list[str]:
    lines = [f"run: {plan.run_id}"]
    for key, value in plan.provenance.items():
        if key in (DATA_FINGERPRINTS, OVERRIDES) or value is None:
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
