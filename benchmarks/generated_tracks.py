"""Sequences of moving boxes whose truth is known, what a detector with faults would see of them, and scores of trackers.

Objects cross the picture on paths that bend, pass in front of each other (the one whose lower edge is lower hides the
other), and come and go. The detector sees what is not hidden, with jitter, misses some of it, in runs, gives hidden objects low
scores, and finds some things that are not there, and parts of objects beside them. Frames may be lost and their rate may change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import motmetrics
import numpy as np

from cvforge_edge.boxes import box_areas, iou_matrix
from cvforge_edge.types import Detections

HEIGHT, WIDTH = 720, 1280
TRUTH_VISIBILITY = 0.25
"""An object of which less can be seen is neither asked for nor found."""
PART_SCORE, PART_FOUND = 0.35, 0.7
"""Mean score of an upper half that is found beside its object, and in which part of the frames it is."""
GOLDEN_RATIO = 0.618033988749895
MATCH_IOU = 0.5
"""A found box counts for a true one from this overlap on."""


@dataclass(frozen=True)
class Level:
    """How hard a set of sequences is.

    Attributes:
        objects: how many are in the picture at once, on average.
        frames: length of a sequence.
        fps: rates of frames a second, each for an equal part of a sequence.
        lost_frames: share of frames that never arrive.
        missed: share of visible objects that the detector does not see.
        jitter: of found centres and sizes, as a part of the box's side.
        false_positives: on average in a frame, anywhere.
        parts: share of objects whose upper half is often found beside the whole, with low scores, frame after frame.
        speed: of objects, in box heights a second.
        classes: how many.
    """

    objects: int
    frames: int
    fps: tuple[float, ...]
    lost_frames: float
    missed: float
    jitter: float
    false_positives: float
    parts: float
    speed: float
    classes: int = 2


LEVELS = {
    "easy": Level(8, 300, (25.0,), 0.0, 0.02, 0.02, 0.1, 0.0, 0.6),
    "medium": Level(15, 300, (25.0,), 0.0, 0.10, 0.04, 0.5, 0.1, 0.8),
    "hard": Level(25, 300, (25.0,), 0.0, 0.20, 0.05, 1.5, 0.2, 1.0),
    "uneven frames": Level(12, 300, (25.0, 8.0, 15.0), 0.25, 0.08, 0.03, 0.3, 0.1, 0.8),
}


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame of a sequence.

    Attributes:
        time_s: when.
        truth: the objects that can be seen, with their ids.
        found: what the detector says.
    """

    time_s: float
    truth: Detections
    found: Detections


@dataclass(frozen=True)
class Scores:
    """Of a tracker: MOTA and IDF1 (1 is perfect), how often a true object changed its id, and misses and false boxes."""

    mota: float
    idf1: float
    switches: int
    misses: int
    false_positives: int


def generate(level: Level, *, seed: int) -> list[Moment]:
    """A sequence; the same for the same level and seed."""
    random = np.random.default_rng(seed)
    paths = _Paths(level, random)
    moments: list[Moment] = []
    time_s = 0.0
    for frame in range(level.frames):
        step_s = 1 / level.fps[frame * len(level.fps) // level.frames]
        paths.advance(step_s)
        time_s += step_s
        if random.random() >= level.lost_frames:
            truth, visibility = paths.visible()
            found = _detect(truth, visibility, paths.blind(truth), level, random)
            moments.append(Moment(time_s, truth.select(visibility >= TRUTH_VISIBILITY), found))
    return moments


def score(moments: Sequence[Moment], track: Callable[[Moment], Detections]) -> Scores:
    """What `motmetrics` says about a tracker that is given the moments one after the other."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for moment in moments:
        tracked = track(moment)
        assert tracked.track_ids is not None and moment.truth.track_ids is not None
        distances = 1.0 - iou_matrix(moment.truth.boxes_xyxy, tracked.boxes_xyxy).astype(np.float64)
        distances[distances > 1 - MATCH_IOU] = np.nan
        distances[moment.truth.class_ids[:, None] != tracked.class_ids[None, :]] = np.nan
        accumulator.update(moment.truth.track_ids.tolist(), tracked.track_ids.tolist(), distances)
    names = ["mota", "idf1", "num_switches", "num_misses", "num_false_positives"]
    figures = motmetrics.metrics.create().compute(accumulator, metrics=names, return_dataframe=False)
    return Scores(
        float(figures["mota"]),
        float(figures["idf1"]),
        int(figures["num_switches"]),
        int(figures["num_misses"]),
        int(figures["num_false_positives"]),
    )


class _Paths:
    """The true objects, moving."""

    def __init__(self, level: Level, random: np.random.Generator) -> None:
        self._level, self._random = level, random
        self._count = 0
        self._rows: list[dict[str, float]] = [self._new(inside=True) for _ in range(level.objects)]

    def advance(self, step_s: float) -> None:
        """Move everything; what has left the picture is replaced by something new that comes in."""
        for row in self._rows:
            row["vx"] += row["h"] * self._level.speed * float(self._random.normal(0, 0.7)) * step_s**0.5
            row["vy"] += row["h"] * self._level.speed * float(self._random.normal(0, 0.25)) * step_s**0.5
            row["vx"] -= 0.15 * row["vx"] * step_s
            row["vy"] -= 0.8 * row["vy"] * step_s
            row["x"] += row["vx"] * step_s
            row["y"] += row["vy"] * step_s
            row["h"] *= 1 + 0.05 * float(self._random.normal()) * step_s**0.5
            row["blind_s"] = max(0.0, row["blind_s"] - step_s)
            if self._random.random() < self._level.missed * step_s:  # a run of misses, beside the single ones
                row["blind_s"] = float(self._random.uniform(0.1, 0.8))
        gone = [
            not (-0.5 * r["h"] < r["x"] < WIDTH + 0.5 * r["h"] and 0 < r["y"] < HEIGHT + r["h"]) for r in self._rows
        ]
        self._rows = [self._new(inside=False) if out else row for row, out in zip(self._rows, gone, strict=True)]

    def visible(self) -> tuple[Detections, np.ndarray]:
        """All objects, cut at the edges of the picture, and (n,) the share of each that nothing hides."""
        edge = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
        sides = [(r["x"], r["y"], r["h"] * r["aspect"] / 2, r["h"] / 2) for r in self._rows]
        whole = np.array([(x - w, y - h, x + w, y + h) for x, y, w, h in sides])
        boxes = np.clip(whole, 0, edge).astype(np.float32)
        front = whole[:, 3]
        visibility = box_areas(boxes) / box_areas(whole.astype(np.float32))
        for i, box in enumerate(boxes):
            width, height = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0).T
            hidden = (width * height)[front > front[i]]
            visibility[i] *= max(0.0, 1 - float(hidden.sum()) / max(1.0, float(box_areas(box[None])[0])))
        ids = np.array([r["id"] for r in self._rows], np.int64)
        classes = np.array([r["class"] for r in self._rows], np.int64)
        return Detections(boxes, np.ones(len(boxes), np.float32), classes, track_ids=ids), visibility

    def blind(self, truth: Detections) -> np.ndarray:
        """(n,) whether the detector is blind for an object just now."""
        assert truth.track_ids is not None
        return np.array([r["blind_s"] > 0 for r in self._rows])

    def _new(self, *, inside: bool) -> dict[str, float]:
        random = self._random
        self._count += 1
        height = float(random.uniform(70, 200))
        right = bool(random.integers(2))
        x = float(random.uniform(0, WIDTH)) if inside else (0.0 if right else float(WIDTH))
        speed = self._level.speed * height * float(random.uniform(0.5, 1.5))
        return {
            "id": self._count,
            "class": int(random.integers(self._level.classes)),
            "x": x,
            "y": float(random.uniform(0.2 * HEIGHT, 0.95 * HEIGHT)),
            "h": height,
            "aspect": float(random.uniform(0.35, 0.8)),
            "vx": speed if right else -speed,
            "vy": 0.0,
            "blind_s": 0.0,
        }


def _detect(
    truth: Detections, visibility: np.ndarray, blind: np.ndarray, level: Level, random: np.random.Generator
) -> Detections:
    scores = np.clip(0.25 + 0.6 * visibility + random.normal(0, 0.08, len(truth)), 0.02, 0.99)
    missed = random.random(len(truth)) < level.missed * 0.7
    seen = (visibility >= TRUTH_VISIBILITY) & ~blind & ~missed
    sides = np.tile(truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2], 2)
    boxes = truth.boxes_xyxy + random.normal(0, level.jitter, (len(truth), 4)) * sides
    halves = _upper_halves(truth.select(seen), level, random)
    anywhere = _anywhere(int(random.poisson(level.false_positives)), level, random)
    whole = Detections(boxes[seen].astype(np.float32), scores[seen].astype(np.float32), truth.class_ids[seen])
    parts = (whole, halves, anywhere)
    return Detections(
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
    )


def _upper_halves(seen: Detections, level: Level, random: np.random.Generator) -> Detections:
    """Heads and shoulders that a detector takes for objects of their own, always of the same objects."""
    assert seen.track_ids is not None
    prone = np.modf(seen.track_ids * GOLDEN_RATIO)[0] < level.parts
    halves = seen.select(prone & (random.random(len(seen)) < PART_FOUND))
    boxes = halves.boxes_xyxy.copy()
    boxes[:, 3] = (boxes[:, 1] + boxes[:, 3]) / 2
    scores = np.clip(random.normal(PART_SCORE, 0.08, len(halves)), 0.05, 0.9)
    return Detections(boxes, scores.astype(np.float32), halves.class_ids)


def _anywhere(count: int, level: Level, random: np.random.Generator) -> Detections:
    """Things that are not there."""
    height, center = random.uniform(50, 200, count), random.uniform(0, 1, (count, 2)) * (WIDTH, HEIGHT)
    half = np.stack([height * random.uniform(0.35, 0.8, count), height], 1) / 2
    return Detections(
        np.concatenate([center - half, center + half], 1).astype(np.float32),
        np.clip(random.normal(0.4, 0.15, count), 0.05, 0.9).astype(np.float32),
        random.integers(0, level.classes, count).astype(np.int64),
    )
