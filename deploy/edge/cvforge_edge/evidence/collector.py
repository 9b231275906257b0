"""Decides frame by frame what is measured and what is kept: the hardest frame of every few seconds of each camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cvforge_edge.evidence.consecutive import Consecutive
from cvforge_edge.evidence.criteria import outlier_reasons, unsure_reasons
from cvforge_edge.evidence.drift import DriftWatch
from cvforge_edge.evidence.reason import Reason
from cvforge_edge.evidence.seen import Seen
from cvforge_edge.records import dataclass


class Keeping(Protocol):
    """The part of `cvforge_edge.evidence.keeper.Keeper` that is used here."""

    def offer(self, seen: Seen, reasons: tuple[Reason, ...]) -> None: ...  # noqa: D102


@dataclass
class _Camera:
    """What is known of one camera.

    Attributes:
        consecutive: its last frames.
        sampled_s: `Frame.time_s` of the last frame that was measured; None before the first.
        waiting: the hardest frame since `waiting_since_s`, and why; None where there was none.
        waiting_since_s: `Frame.time_s` of the first hard frame that stood there.
    """

    consecutive: Consecutive
    sampled_s: float | None = None
    waiting: tuple[Seen, tuple[Reason, ...]] | None = None
    waiting_since_s: float = 0.0


class Collector:
    """Takes every frame in order; the same frames always give the same evidence.

    Args:
        drift: takes the measured frames.
        keeper: takes the hard ones.
        labels: of the model.
        cameras: how many there are.
        sample_every_s: each camera is measured so often.
        apart_s: of each camera, the hardest frame of so many seconds at most is kept.
    """

    def __init__(
        self,
        *,
        drift: DriftWatch,
        keeper: Keeping,
        labels: tuple[str, ...],
        cameras: int,
        sample_every_s: float,
        apart_s: float,
    ) -> None:
        self._drift, self._keeper, self._labels = drift, keeper, labels
        self._sample_every_s, self._apart_s = sample_every_s, apart_s
        self._cameras = [_Camera(Consecutive(labels)) for _ in range(cameras)]

    def take(self, seen: Seen) -> None:
        """Take in the next frame of its camera.

        Raises:
            SpecError: the picture or the prediction breaks its contract; the frame is left out.
        """
        camera = self._cameras[seen.camera]
        time_s = seen.frame.time_s
        if camera.waiting is not None and not 0 <= time_s - camera.waiting_since_s < self._apart_s:
            self._keep(camera)
        for hard, reasons in camera.consecutive.add(seen):
            self._offer(camera, hard, reasons)
        if camera.sampled_s is None or not 0 <= time_s - camera.sampled_s < self._sample_every_s:
            camera.sampled_s = time_s
            self._offer(camera, seen, self._measured(seen))

    def close(self) -> None:
        """Keep what still waits."""
        for camera in self._cameras:
            if camera.waiting is not None:
                self._keep(camera)

    def _measured(self, seen: Seen) -> list[Reason]:
        distance = self._drift.distance(seen)
        self._drift.add(seen, distance=distance)
        outliers = outlier_reasons(seen.glance, self._drift.reference, distance=distance)
        return unsure_reasons(seen.glance, self._labels) + outliers

    def _offer(self, camera: _Camera, seen: Seen, reasons: Sequence[Reason]) -> None:
        if not reasons:
            return
        if camera.waiting is None:
            camera.waiting, camera.waiting_since_s = (seen, _ordered(reasons)), seen.frame.time_s
            return
        waiting, known = camera.waiting
        if waiting.frame is seen.frame:
            camera.waiting = seen, _ordered([*known, *reasons])
        elif _worth(reasons) > _worth(known):
            camera.waiting = seen, _ordered(reasons)

    def _keep(self, camera: _Camera) -> None:
        assert camera.waiting is not None, "asked for where something waits"
        seen, reasons = camera.waiting
        camera.waiting = None
        self._keeper.offer(seen, reasons)


def _worth(reasons: Sequence[Reason]) -> float:
    """Frames of several reasons come first."""
    return sum(reason.value for reason in reasons)


def _ordered(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(reasons, key=lambda reason: -reason.value))
