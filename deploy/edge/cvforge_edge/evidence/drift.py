"""Watches each camera for drift: windows of statistics against the reference of the bundle, findings that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from cvforge_edge.errors import BundleError
from cvforge_edge.events import Event
from cvforge_edge.evidence.findings import Finding, compare
from cvforge_edge.evidence.position import DRIFT, LEVELS, OK
from cvforge_edge.evidence.seen import Seen
from cvforge_edge.evidence.windows import HOUR, SINCE_START, Windows
from cvforge_edge.frame import Frame
from cvforge_edge.records import dataclass
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.strict_json import Fields
from cvforge_edge.types import Task

RULE = "drift"
BEGAN, ENDED = "drift_began", "drift_ended"
JUDGE_EVERY_S = 60.0
DEBOUNCE = 3
"""A drift begins, and ends, when so many judgements in a row say so; there is one a minute."""


@dataclass
class _Camera:
    """What is known of one camera.

    Attributes:
        name: of its source, without passwords.
        windows: its statistics.
        streaks: quantity -> how many judgements in a row were other than what holds.
        drifting: quantities whose drift has begun and not ended.
        newest: its newest frame; None before the first.
        findings: of the last judgement, window -> findings.
        images: of the last judgement, window -> pictures.
    """

    name: str
    windows: Windows
    streaks: dict[str, int] = field(default_factory=dict)
    drifting: set[str] = field(default_factory=set)
    newest: Frame | None = None
    findings: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)


class DriftWatch:
    """Statistics and findings of every camera of a run.

    Args:
        task: what the model predicts.
        labels: of the model.
        reference: from the bundle; None where it has none: statistics are collected, nothing is compared.
        names: of the sources, in the order of the run.
    """

    def __init__(
        self, task: Task, labels: tuple[str, ...], *, reference: Statistics | None, names: Sequence[str]
    ) -> None:
        self._task, self._labels, self.reference = task, labels, reference
        places = None if reference is None else reference.embedding
        measures = places is not None and places.can_measure and places.distances.count > 0
        self._yardstick = places.yardstick() if places is not None and measures else None
        self.cameras = [_Camera(name, Windows(task, labels)) for name in names]

    def distance(self, seen: Seen) -> float | None:
        """How far a picture is from the reference to the network; None where one of them has no embedding.

        Raises:
            SpecError: the embedding is of another model.
        """
        embedding = seen.glance.embedding
        if embedding is None or self._yardstick is None:
            return None
        return float(self._yardstick.distance(embedding[None])[0])

    def add(self, seen: Seen, *, distance: float | None = None) -> None:
        """Take in one picture.

        Args:
            seen: the picture.
            distance: what `distance` said of it.

        Raises:
            SpecError: something breaks its contract; nothing of this picture was taken in.
        """
        camera = self.cameras[seen.camera]
        camera.newest = seen.frame
        camera.windows.add(
            seen.glance.image_bgr,
            seen.glance.usual_prediction,
            embedding=seen.glance.embedding,
            distance=distance,
            now_s=seen.frame.captured_s,
        )

    def judge(self, now_s: float) -> list[tuple[int, Event]]:
        """Compare every camera with the reference; the drifts that began or ended, each with the number of its camera."""
        return [(number, event) for number, camera in enumerate(self.cameras) for event in self._judge(camera, now_s)]

    def to_value(self, now_s: float) -> dict[str, Any]:
        """Plain values for JSON, from which another run goes on."""
        return {
            camera.name: {"drifting": sorted(camera.drifting), **camera.windows.to_value(now_s)}
            for camera in self.cameras
        }

    def restore(self, value: Any, *, where: str, now_s: float, asleep_s: float) -> None:
        """Go on from what an earlier run knew of cameras of the same names.

        Args:
            value: of `to_value`.
            where: named in error messages.
            now_s: time of this run.
            asleep_s: how long ago it was written.

        Raises:
            BundleError: it cannot be read; nothing was taken over.
        """
        problems: list[str] = []
        fields = Fields(value, key="cameras", problems=problems)
        found = []
        for camera in self.cameras:
            entry = fields.object(camera.name) if fields.has(camera.name) else None
            if entry is None:
                continue
            drifting = entry.texts("drifting")
            windows = Windows.read(
                entry, task=self._task, labels=self._labels, where=where, now_s=now_s, asleep_s=asleep_s
            )
            entry.finish()
            found.append((camera, windows, set(drifting or ())))
        if problems:
            raise BundleError(f"{where}: " + "; ".join(problems))
        for camera, windows, names in found:
            camera.windows, camera.drifting = windows, names

    def _judge(self, camera: _Camera, now_s: float) -> list[Event]:
        windows = {HOUR: camera.windows.hour(now_s), SINCE_START: camera.windows.since_start}
        camera.images = {name: window.images for name, window in windows.items()}
        if self.reference is None:
            return []
        camera.findings = {name: compare(window, self.reference) for name, window in windows.items()}
        return [event for finding in camera.findings[HOUR] for event in _debounced(camera, finding)]


def _debounced(camera: _Camera, finding: Finding) -> list[Event]:
    """The event of a finding that has lasted; at most one."""
    quantity, drifts = finding.quantity, finding.level == DRIFT
    if drifts == (quantity in camera.drifting):
        camera.streaks.pop(quantity, None)
        return []
    camera.streaks[quantity] = camera.streaks.get(quantity, 0) + 1
    if camera.streaks[quantity] < DEBOUNCE or camera.newest is None:
        return []
    del camera.streaks[quantity]
    (camera.drifting.add if drifts else camera.drifting.discard)(quantity)
    frame = camera.newest
    return [
        Event(
            rule=f"{RULE}:{quantity}",
            kind=BEGAN if drifts else ENDED,
            source=camera.name,
            frame=frame.index,
            time_s=frame.time_s,
            unix_time_s=frame.unix_time_s,
            value=finding.found,
        )
    ]


def worst_level(findings: Sequence[Finding]) -> str:
    """The strongest level among findings; `ok` where there are none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)
