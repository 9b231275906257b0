"""A generated video: the shapes of the generated sets in motion, with their true boxes, for the camera demo."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from cvforge.data.paint import develop, paint_clutter, paint_ground, paint_shape
from cvforge.data.shapes import SHAPES, PlacedShape, random_shape, visible_shares
from cvforge.errors import StorageError
from cvforge_edge.types import Detections

FRAMES_PER_S = 25
MIN_VISIBLE_IN_TRUTH = 0.3
"""Objects that are hidden more than this leaves are no ground truth of that frame."""
GROUND_MARGIN = 1.25
"""The ground is larger than a frame by this factor, and the camera drifts over it."""


@dataclass(frozen=True)
class _Mover:
    shape: PlacedShape
    velocity_xy: tuple[float, float]  # pixels a frame
    spin_deg: float  # a frame


def render_clip(
    path: str | Path,
    frames: int,
    *,
    seed: int = 0,
    size_hw: tuple[int, int] = (360, 480),
    objects: int = 5,
) -> list[Detections]:
    """Write a video of moving shapes, and beside it, as `<name>.json`, what is in each frame.

    Args:
        path: the video to write; `.mp4`.
        frames: its length, at 25 frames a second.
        seed: other seeds give other videos.
        size_hw: height and width of the video, in pixels.
        objects: how many shapes move through it.

    Returns:
        The objects of each frame, with `track_ids` that stay with each object.

    Raises:
        StorageError: the video cannot be written.
    """
    target = Path(path)
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    movers = _movers(rng, size_hw, count=objects)
    ground_hw = (round(size_hw[0] * GROUND_MARGIN), round(size_hw[1] * GROUND_MARGIN))
    ground = paint_ground(rng, ground_hw)
    paint_clutter(ground, rng, count=14)
    writer = _open_writer(target, size_hw)
    truths = []
    try:
        for frame in range(frames):
            shapes = [_position(mover, frame, size_hw) for mover in movers]
            image = _window(ground, frame, size_hw)
            for shape in shapes:
                paint_shape(image, shape)
            # The light is the same in every frame; only the noise is new.
            writer.write(develop(image, _light(seed), noise=np.random.Generator(np.random.PCG64([seed, 2, frame]))))
            truths.append(_truth(shapes, size_hw))
    finally:
        writer.release()
    _write_truth(target.with_suffix(".json"), truths, size_hw=size_hw)
    return truths


def _open_writer(path: Path, size_hw: tuple[int, int]) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAMES_PER_S, size_hw[::-1])
    if not writer.isOpened():
        raise StorageError(f"{path}: the video cannot be written; is the folder writable and the name an .mp4?")
    return writer


def _movers(rng: np.random.Generator, size_hw: tuple[int, int], *, count: int) -> list[_Mover]:
    movers = []
    for number in range(count):
        shape = random_shape(rng, size_hw, radius_range=(0.09, 0.19), margin=1.2)
        shape = replace(shape, class_id=number % len(SHAPES))
        heading = rng.uniform(0, 2 * math.pi)
        speed = min(size_hw) * rng.uniform(0.004, 0.011)
        movers.append(
            _Mover(shape, (speed * math.cos(heading), speed * math.sin(heading)), spin_deg=float(rng.uniform(-2, 2)))
        )
    return movers


def _position(mover: _Mover, frame: int, size_hw: tuple[int, int]) -> PlacedShape:
    """The object of one frame, reflected at the borders of the picture."""
    x = _bounce(mover.shape.center_xy[0] + frame * mover.velocity_xy[0], size_hw[1], edge=mover.shape.radius * 0.8)
    y = _bounce(mover.shape.center_xy[1] + frame * mover.velocity_xy[1], size_hw[0], edge=mover.shape.radius * 0.8)
    return replace(mover.shape, center_xy=(x, y), angle_deg=mover.shape.angle_deg + frame * mover.spin_deg)


def _bounce(value: float, side: int, *, edge: float) -> float:
    """A coordinate that runs to and fro between the two edges."""
    length = side - 2 * edge
    place = (value - edge) % (2 * length)
    return edge + (place if place <= length else 2 * length - place)


def _window(ground: np.ndarray, frame: int, size_hw: tuple[int, int]) -> np.ndarray:
    """The part of the ground that a slowly drifting camera sees, as a copy."""
    free_y, free_x = ground.shape[0] - size_hw[0], ground.shape[1] - size_hw[1]
    top = round(free_y * (0.5 + 0.5 * math.sin(frame * 0.013)))
    left = round(free_x * (0.5 + 0.5 * math.sin(frame * 0.019)))
    return ground[top : top + size_hw[0], left : left + size_hw[1]].copy()


def _light(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, 1]))


def _truth(shapes: list[PlacedShape], size_hw: tuple[int, int]) -> Detections:
    """The objects of one frame that can be seen."""
    shares = visible_shares(shapes, size_hw)
    seen = [number for number, share in enumerate(shares) if share >= MIN_VISIBLE_IN_TRUTH]
    return Detections(
        boxes_xyxy=np.array([shapes[number].box_xyxy(size_hw) for number in seen], np.float32).reshape(-1, 4),
        scores=np.ones(len(seen), np.float32),
        class_ids=np.array([shapes[number].class_id for number in seen], np.int64),
        track_ids=np.array(seen, np.int64),
    )


def _write_truth(path: Path, truths: list[Detections], *, size_hw: tuple[int, int]) -> None:
    frames = []
    for truth in truths:
        assert truth.track_ids is not None
        frames.append(
            {
                "boxes_xyxy": [[round(float(value), 2) for value in box] for box in truth.boxes_xyxy],
                "class_ids": truth.class_ids.tolist(),
                "track_ids": truth.track_ids.tolist(),
            }
        )
    document = {"labels": list(SHAPES), "size_hw": list(size_hw), "frames_per_s": FRAMES_PER_S, "frames": frames}
    path.write_text(json.dumps(document), encoding="utf-8")
