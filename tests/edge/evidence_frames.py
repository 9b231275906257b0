"""Frames with made-up answers, a bundle around them, and a keeper with a clock of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cvforge_edge.bundle import Bundle
from cvforge_edge.evidence.glance import Glance
from cvforge_edge.evidence.keeper import Keeper
from cvforge_edge.evidence.reason import Reason
from cvforge_edge.evidence.seen import Seen
from cvforge_edge.evidence.settings import EvidenceSettings
from cvforge_edge.frame import Frame
from cvforge_edge.types import ClassScores, Detections, SegmentationMap
from edge.conftest import tiny_manifest

SHA256 = "a" * 64
PLENTY = 10**12


def bundle_of(model: str = "detector", *, labels=None, reference=None, sha256: str = SHA256) -> Bundle:
    manifest = tiny_manifest(model)
    if labels is not None:
        manifest = replace(manifest, labels=labels)
    if reference is not None:
        manifest = replace(manifest, reference_statistics=reference)
    return Bundle(Path("bundle"), manifest, sha256)


def seen(
    prediction=None,
    *,
    image=None,
    index: int = 0,
    time_s: float | None = None,
    unix_time_s: float | None = None,
    source: str = "clip.mp4",
    outputs=None,
    model: str = "detector",
    camera: int = 0,
    captured_s: float | None = None,
) -> Seen:
    image = np.full((48, 64, 3), 90, np.uint8) if image is None else image
    time_s = index / 10 if time_s is None else time_s
    spec = tiny_manifest(model).postprocess
    prediction = Detections.empty() if prediction is None else prediction
    glance = Glance(image, outputs or {}, None, spec, bundle_of(model), prediction)
    moment = time_s if captured_s is None else captured_s
    return Seen(Frame(image, index, time_s, unix_time_s, source, moment), camera, glance)


def boxes(*rows) -> Detections:
    """`boxes((x1, y1, x2, y2, score, class_id), ...)`."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64))


def probs(*values) -> ClassScores:
    return ClassScores(np.array(values, np.float32))


def pixels(class_map) -> SegmentationMap:
    return SegmentationMap(np.array(class_map, np.uint8))


def noise(seed: int, size_hw=(48, 64)) -> np.ndarray:
    """A picture that no other seed gives, in blocks that survive JPEG and thumbnails."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.kron(blocks, np.ones((size_hw[0] // 8, size_hw[1] // 8, 1), np.uint8))


def reason(kind: str = "unsure", value: float = 0.5, *, label=None, box=None) -> Reason:
    return Reason(kind, value, "because", label, box)


def open_keeper(folder: Path, *, bundle=None, free_bytes=lambda _: PLENTY, **settings) -> Keeper:
    ticks = iter(range(10**9))
    bundle = bundle_of() if bundle is None else bundle
    return Keeper(
        EvidenceSettings(folder, **settings), bundle, unix_time_s=lambda: float(next(ticks)), free_bytes=free_bytes
    )


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "frames").iterdir())
