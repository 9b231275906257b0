"""What a model card must say against its model: what was not measured, and where the scores are low or rest on little."""

from __future__ import annotations

from cvforge.export.plan import ExportPlan
from cvforge.export.score_tables import class_scores
from cvforge.export.verify import Reference
from cvforge.metrics.bootstrap import MIN_IMAGES
from cvforge_edge.manifest import Manifest
from cvforge_edge.types import Task

FEW = 20
"""Objects or pictures of a class; below this its score says little."""
MUCH_LOWER = 0.5
"""A size whose score is less than this share of the best size's is warned of."""
SIZES = {
    "map_small": "under 32 x 32",
    "map_medium": "of 32 x 32 to 96 x 96",
    "map_large": "over 96 x 96",
}
"""COCO's sizes: areas in pixels of the original picture."""
NAMES_SHOWN = 20
PRECISION_NOTES = {
    "fp16": "fp16 files store weights in half precision and compute in single precision.",
    "int8": "int8 files compute with 8-bit numbers, in ranges that were seen on calibration pictures.",
}


def limits(manifest: Manifest, *, reference: Reference, plan: ExportPlan) -> list[str]:
    """Sentences, the most general first."""
    lines = [
        f"It knows these {len(manifest.labels)} classes and nothing else: whatever it is shown, it answers with one of them"
        f"{'.' if manifest.task is not Task.DETECTION else ' or with no object.'}",
        *_about_scores(reference),
    ]
    if manifest.task is Task.DETECTION:
        lines += _about_sizes(reference)
        counted = "" if reference.primary is None else "; the scores above count all candidates"
        threshold = manifest.postprocess.score_threshold
        lines.append(f"On the device, objects below score {threshold:g} are not reported{counted}.")
    lines += _about_classes(manifest, reference)
    lines += [note for name, note in PRECISION_NOTES.items() if any(m.precision == name for m in manifest.models)]
    where = "the pictures that it was compared on" if reference.primary is None else "the validation set"
    lines.append(
        f"`golden/` holds up to {plan.golden_images} pictures of {where}: whoever gets the bundle gets them too."
    )
    return lines


def _about_scores(reference: Reference) -> list[str]:
    device = "Not measured: speed and memory on your device; run the self-test and the camera there."
    if reference.primary is None:
        return [
            "Not measured: how often it is right, anywhere. Score it on labelled pictures before relying on it.",
            device,
        ]
    return [
        "The scores are of one validation set. Not measured: other places, cameras, seasons, light or groups of people, "
        "and whether a score of 0.8 is right in 80 % of all cases.",
        device,
        _about_intervals(reference),
    ]


def _about_intervals(reference: Reference) -> str:
    interval = reference.interval
    if interval is None:
        return f"There is no confidence interval: the metric cannot be resampled, or there are fewer than {MIN_IMAGES} pictures."
    return (
        f"The intervals in brackets hold the score in {interval.level:.0%} of all cases, had other pictures of the same kind "
        "been chosen (bootstrap over pictures). They are too narrow where pictures resemble each other, such as frames of "
        "one video, and leave out what another training would change."
    )


def _about_sizes(reference: Reference) -> list[str]:
    if reference.primary is None:
        return []
    found = {name: reference.metrics[name] for name in SIZES if name in reference.metrics}
    lines = [f"No object {SIZES[name]} pixels was scored: not measured." for name in SIZES if name not in found]
    if not found:
        return lines
    best = max(found.values())
    weak = [f"{SIZES[name]} pixels ({value:.3f})" for name, value in found.items() if value < MUCH_LOWER * best]
    if weak:
        strong = next(SIZES[name] for name, value in found.items() if value == best)
        lines.append(
            f"Many objects {' and '.join(weak)} are missed or badly placed; `map` of those {strong} pixels is {best:.3f}. "
            "Sizes are those in the original picture."
        )
    return lines


def _about_classes(manifest: Manifest, reference: Reference) -> list[str]:
    evidence = reference.evidence
    if evidence is None:
        return []
    unit = "objects" if manifest.task is Task.DETECTION else "pictures"
    counted = [(label, int(count)) for label, count in zip(manifest.labels, evidence.objects, strict=True)]
    absent = [label for label, count in counted if not count]
    few = [f"{label} ({count})" for label, count in counted if 0 < count < FEW]
    zero = [
        label
        for label, score in zip(manifest.labels, class_scores(manifest.task, manifest.labels, reference), strict=True)
        if score == 0
    ]
    lines = []
    if absent:
        lines.append(f"Not in the scored pictures, so not measured: {_listed(absent)}.")
    if few:
        lines.append(f"Fewer than {FEW} {unit} were scored, so their scores say little: {_listed(few)}.")
    if zero:
        lines.append(f"Never found rightly: {_listed(zero)}.")
    return lines


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
