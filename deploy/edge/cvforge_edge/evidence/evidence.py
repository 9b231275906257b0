"""The evidence of one run, without threads: frames in, files and events out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cvforge_edge.bundle import Bundle
from cvforge_edge.errors import EdgeError
from cvforge_edge.events import EVENT_LEVEL, Event
from cvforge_edge.evidence.collector import Collector
from cvforge_edge.evidence.drift import JUDGE_EVERY_S, DriftWatch
from cvforge_edge.evidence.keeper import Keeper
from cvforge_edge.evidence.position import LEVELS, OK
from cvforge_edge.evidence.reference import read_reference
from cvforge_edge.evidence.report import restore_state, write_report, write_state
from cvforge_edge.evidence.seen import Seen
from cvforge_edge.evidence.settings import MB, EvidenceSettings
from cvforge_edge.evidence.windows import HOUR
from cvforge_edge.status import Gauge

COMPLAIN_EVERY_S = 600.0

logger = logging.getLogger(__name__)


class Evidence:
    """Drift and hard frames; what fails is counted and named in the log now and then, it never ends a run.

    Args:
        settings: what is kept, and where.
        bundle: of the model.
        names: of the sources, in the order of the run.
        clock: seconds that only grow, those of `Frame.captured_s`.
        unix_time_s: the time of day.
        free_bytes: how much room the disk of a folder has; None asks the system.

    Raises:
        StorageError: the folder cannot be created or read.
        UsageError: another run uses it, or a class to blur is unknown.
        BundleError: the reference statistics of the bundle cannot be read.
    """

    def __init__(
        self,
        settings: EvidenceSettings,
        bundle: Bundle,
        *,
        names: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        unix_time_s: Callable[[], float] = time.time,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        manifest = bundle.manifest
        self._bundle, self._clock, self._unix_time_s, self._path = bundle, clock, unix_time_s, settings.folder
        self._drift = DriftWatch(manifest.task, manifest.labels, reference=read_reference(bundle), names=names)
        self._keeper = Keeper(settings, bundle, unix_time_s=unix_time_s, free_bytes=free_bytes)
        self._collector = Collector(
            drift=self._drift,
            keeper=self._keeper,
            labels=manifest.labels,
            cameras=len(names),
            sample_every_s=settings.sample_every_s,
            apart_s=settings.apart_s,
        )
        restore_state(self._path, self._drift, bundle, now_s=clock(), unix_time_s=unix_time_s())
        self._due_s = clock() + JUDGE_EVERY_S
        self._complained_s = -COMPLAIN_EVERY_S
        self._failed = 0

    def take(self, seen: Seen) -> None:
        """Take in the next frame of its camera."""
        try:
            self._collector.take(seen)
        except EdgeError as error:
            self._complain(error)

    def judge_if_due(self) -> list[tuple[int, Event]]:
        """Once a minute, compare and write; drifts that began or ended, each with the number of its camera."""
        return self._judge() if self._clock() >= self._due_s else []

    def close(self) -> None:
        """Keep what waits, compare and write for the last time, and let another run have the folder."""
        try:
            self._collector.close()
            self._judge()
        except EdgeError as error:
            self._complain(error)
        finally:
            self._keeper.folder.close()

    def summary(self) -> str:
        """What was kept, and what is different from the reference, in one line."""
        folder = self._keeper.folder
        kept = (
            f"{self._path}: {len(folder.kept)} hard frames, {folder.size_bytes / MB:.1f} MB, {self._keeper.stored} new"
        )
        failures = self._keeper.failed + self._failed
        lost = f", {failures} failed" if failures else ""
        return f"{kept}{lost}; {self._drift_line()}"

    def gauges(self) -> tuple[Gauge, ...]:
        """Numbers for graphs."""
        folder = self._keeper.folder
        levels = tuple(
            Gauge(
                "cvforge_drift_level",
                "Of the last hour against the reference: 0 ok, 1 notice, 2 drift.",
                float(LEVELS.index(finding.level)),
                (("source", camera.name), ("quantity", finding.quantity)),
            )
            for camera in self._drift.cameras
            for finding in camera.findings.get(HOUR, ())
        )
        return (
            Gauge("cvforge_evidence_frames", "Hard frames in the folder.", float(len(folder.kept))),
            Gauge("cvforge_evidence_bytes", "Of their files.", float(folder.size_bytes)),
            *levels,
        )

    def _drift_line(self) -> str:
        if self._drift.reference is None:
            return "the bundle has no reference statistics to compare with"
        if not any(camera.findings.get(HOUR) for camera in self._drift.cameras):
            return "too few pictures to compare with the reference"
        parts = []
        for camera in self._drift.cameras:
            for finding in camera.findings.get(HOUR, ()):
                if finding.level != OK:
                    parts.append(f"{camera.name}: {finding.level}: {finding.text}")
        return "; ".join(parts) or "like the reference"

    def _judge(self) -> list[tuple[int, Event]]:
        now_s, unix_time_s = self._clock(), self._unix_time_s()
        self._due_s = now_s + JUDGE_EVERY_S
        events = self._drift.judge(now_s)
        for _, event in events:
            logger.log(EVENT_LEVEL, "%s: %s %s", event.source, event.kind, event.rule)
        try:
            write_report(self._path, self._drift, self._bundle, unix_time_s=unix_time_s)
            write_state(self._path, self._drift, self._bundle, now_s=now_s, unix_time_s=unix_time_s)
        except EdgeError as error:
            self._complain(error)
        return events

    def _complain(self, error: EdgeError) -> None:
        self._failed += 1
        now_s = time.monotonic()
        if now_s - self._complained_s >= COMPLAIN_EVERY_S:
            self._complained_s = now_s
            logger.warning("evidence: %s", error)
