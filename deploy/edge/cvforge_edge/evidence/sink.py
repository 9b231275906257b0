"""Evidence as a sink: takes results at once, and works on a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from cvforge_edge.bundle import Bundle
from cvforge_edge.errors import EdgeError
from cvforge_edge.events import Event
from cvforge_edge.evidence.evidence import Evidence
from cvforge_edge.evidence.glance import Glances, WatchedPredictor
from cvforge_edge.evidence.seen import Seen
from cvforge_edge.frame import Result
from cvforge_edge.predictor import Predictor
from cvforge_edge.sinks.ending import Ending
from cvforge_edge.sinks.sink import HURRY_S
from cvforge_edge.status import Gauge

MAX_WAITING = 16
"""Frames that wait for the thread; further ones of a camera are left out and counted."""
FILE_WAITS_S = 0.5
"""A file waits for room so long at most: nobody loses a frame of it because a disk is slow for a moment."""
WAKE_EVERY_S = 1.0
CLOSE_WITHIN_S = 5.0
"""What waits takes a fraction of a second; only a disk that hangs takes longer, and is then left."""
ENDED_BY_ERROR = "evidence: ended by an unexpected error, see the log; a reload of the bundle begins anew"

logger = logging.getLogger(__name__)


class EvidenceSink:
    """Hands frames to `Evidence` and its events back to the run.

    Args:
        open_evidence: opens that of a model; called at once, and again when a run goes over to another model.
        bundle: of the model that runs first.

    Raises:
        EdgeError: what `open_evidence` raises at once.
    """

    def __init__(self, open_evidence: Callable[[Bundle], Evidence], bundle: Bundle) -> None:
        self._open_evidence = open_evidence
        self._evidence: Evidence | None = open_evidence(bundle)
        self._load, self._manifest_sha256 = 0, bundle.manifest_sha256
        # A bundle may come back, as another object; a spare session has that of the running ones.
        self._bundles = WeakValueDictionary({self._load: bundle})
        self._next_load = 1
        self._glances = Glances()
        self._news = threading.Condition()
        self._waiting: deque[Seen] = deque()
        self._events: dict[int, list[Event]] = {}
        self._ending = Ending(self._begin_to_end)
        self._left_out = 0
        self._report: tuple[str, tuple[Gauge, ...]] = (self._evidence.summary(), self._evidence.gauges())
        self._thread = threading.Thread(target=self._work, name="evidence", daemon=True)
        self._thread.start()

    def watched(self, predictor: Predictor, bundle: Bundle) -> WatchedPredictor:
        """The same session of a model, whose raw outputs are seen from now on; closing it closes the session."""
        return WatchedPredictor(predictor, bundle=bundle, glances=self._glances, load=self._load_of(bundle))

    def step(self, camera: int) -> DriftEvents:
        """A step for the results of one source that adds the drifts that begin and end."""
        return DriftEvents(self, camera)

    def write(self, result: Result) -> None:
        """Take one result; nothing is done with it yet."""
        glance = self._glances.take(result.frame.image_bgr)
        if glance is None:
            return
        seen = Seen(result.frame, result.camera, glance)
        with self._news:
            if len(self._waiting) >= MAX_WAITING and result.frame.unix_time_s is None:
                self._news.wait_for(lambda: len(self._waiting) < MAX_WAITING, FILE_WAITS_S)
            if len(self._waiting) >= MAX_WAITING:
                self._left_out += 1
                return
            self._waiting.append(seen)
            self._news.notify_all()

    def take_events(self, camera: int) -> tuple[Event, ...]:
        """Drifts of a source that began or ended since the last call."""
        if not self._events:
            return ()
        with self._news:
            return tuple(self._events.pop(camera, ()))

    def hurry(self) -> None:
        """Begin to end: see `Unhurried`."""
        self._ending.within(HURRY_S)

    def close(self) -> None:
        """Finish what waits; may be called twice."""
        self._ending.within(CLOSE_WITHIN_S)
        self._thread.join(self._ending.left_s())
        if self._thread.is_alive():
            logger.warning("evidence: the disk is slow; the newest evidence of this run may be missing")

    def summary(self) -> str:
        """What was kept, and what is different from the reference."""
        left_out = f"; {self._left_out} frames left out, the device was busy" if self._left_out else ""
        return f"{self._report[0]}{left_out}"

    def gauges(self) -> tuple[Gauge, ...]:
        """Numbers for graphs."""
        return self._report[1]

    def _begin_to_end(self) -> None:
        with self._news:
            self._news.notify_all()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._ending.begun, WAKE_EVERY_S)
                seen = self._waiting.popleft() if self._waiting else None
                ended = self._ending.begun and seen is None
                self._news.notify_all()
            if ended:
                break
            try:
                if seen is not None:
                    self._take(seen)
                if self._evidence is not None:
                    self._publish(self._evidence.judge_if_due())
            except Exception:  # a mistake of ours must not keep frames waiting for this thread
                logger.exception(ENDED_BY_ERROR)
                self._give_up()
        if self._evidence is not None:
            self._evidence.close()
            self._publish([])

    def _load_of(self, bundle: Bundle) -> int:
        with self._news:
            for load, known in self._bundles.items():
                if known is bundle:
                    return load
            load, self._next_load = self._next_load, self._next_load + 1
            self._bundles[load] = bundle
            return load

    def _take(self, seen: Seen) -> None:
        bundle, load = seen.glance.bundle, seen.glance.load
        if load > self._load:
            self._load = load
            if self._evidence is None or bundle.manifest_sha256 != self._manifest_sha256:
                self._go_over(bundle)
        # Frames of the model before may still come, from a session that is slower than others.
        if self._evidence is not None and bundle.manifest_sha256 == self._manifest_sha256:
            self._evidence.take(seen)

    def _give_up(self) -> None:
        failed, self._evidence, self._report = self._evidence, None, (ENDED_BY_ERROR, ())
        if failed is not None:
            with contextlib.suppress(Exception):  # it failed before; its folder must be free for the next model
                failed.close()

    def _go_over(self, bundle: Bundle) -> None:
        if self._evidence is not None:
            self._evidence.close()
        self._manifest_sha256 = bundle.manifest_sha256
        try:
            self._evidence = self._open_evidence(bundle)
        except EdgeError as error:
            self._evidence = None
            logger.error("evidence: none is kept of the reloaded model: %s", error)

    def _publish(self, events: Sequence[tuple[int, Event]]) -> None:
        if self._evidence is None:
            return
        self._report = (self._evidence.summary(), self._evidence.gauges())
        if events:
            with self._news:
                for camera, event in events:
                    self._events.setdefault(camera, []).append(event)


class DriftEvents:
    """A step that adds drifts to the results of one source.

    Args:
        sink: asked for them.
        camera: place of the source among those of the run.
    """

    def __init__(self, sink: EvidenceSink, camera: int) -> None:
        self._sink, self._camera = sink, camera

    def apply(self, result: Result) -> Result:
        """The result with the events that came since the last one."""
        events = self._sink.take_events(self._camera)
        return replace(result, events=(*result.events, *events)) if events else result
