"""Whether a model is asked about pictures like those of its training: what the device does for a camera, for a server's clients.

The statistics, windows, comparisons and events are those of `cvforge_edge.evidence.drift`, with the model in the place of a
camera. Each process of a server has its own; a process that ends takes its last hour with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cvforge_edge.bundle import Bundle
from cvforge_edge.evidence.drift import JUDGE_EVERY_S, DriftWatch
from cvforge_edge.evidence.glance import Glance
from cvforge_edge.evidence.position import LEVELS
from cvforge_edge.evidence.reference import read_reference
from cvforge_edge.evidence.seen import Seen
from cvforge_edge.evidence.windows import HOUR
from cvforge_edge.frame import Frame
from cvforge_edge.geometry import Geometry
from cvforge_edge.postprocess import Outputs, PostprocessSpec
from cvforge_edge.stats.image import shrunk
from cvforge_edge.status import Gauge
from cvforge_edge.types import Prediction
from cvforge_server.request_log import log_event

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PER_S = 2.0
"""Pictures that are measured a second, on average: as many as of a camera. One costs 1.6 to 2.6 ms of a core."""
AT_ONCE = 32
"""So many of them may come together, so that whoever asks seldom, but then often, is measured too."""
IMAGES, LEVEL, FOUND = "cvforge_drift_images", "cvforge_drift_level", "cvforge_drift_found"

_log = logging.getLogger(__name__)


class Drift:
    """Measures some of the pictures that are answered, and compares the last hour with the bundle; for any number of threads.

    Args:
        bundle: of the model.
        watch: of one camera: the model.
        judge_every_s: how often is compared.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        bundle: Bundle,
        watch: DriftWatch,
        *,
        judge_every_s: float = JUDGE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle, self._watch, self._judge_every_s, self._clock = bundle, watch, judge_every_s, clock
        self._lock = threading.Lock()
        self._due_s = clock() + judge_every_s
        self._refilled_s, self._allowed = clock(), float(AT_ONCE)
        self._measured = 0
        self._complaints: set[str] = set()
        self._newest: tuple[Gauge, ...] = ()

    @classmethod
    def of_bundle(
        cls, bundle: Bundle, *, judge_every_s: float = JUDGE_EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> Drift | None:
        """For a bundle; None where it has no reference statistics, or where it is to be judged every 0 seconds.

        Raises:
            BundleError: its reference statistics cannot be read.
        """
        reference = read_reference(bundle) if judge_every_s else None
        if reference is None:
            return None
        manifest = bundle.manifest
        watch = DriftWatch(manifest.task, manifest.labels, reference=reference, names=(manifest.name,))
        return cls(bundle, watch, judge_every_s=judge_every_s, clock=clock)

    def sample(self, image_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
        """The picture as small as it is measured, if its turn has come; what is None is not to be added."""
        with self._lock:
            now_s = self._clock()
            self._allowed = min(float(AT_ONCE), self._allowed + (now_s - self._refilled_s) * PER_S)
            self._refilled_s = now_s
            if self._allowed < 1:
                return None
            self._allowed -= 1
        small: npt.NDArray[np.uint8] = shrunk(image_bgr)
        return small

    def add(
        self,
        small_bgr: npt.NDArray[np.uint8],
        outputs: Outputs,
        *,
        geometry: Geometry,
        spec: PostprocessSpec,
        prediction: Prediction,
    ) -> None:
        """Take in one picture; what goes wrong is logged once and fails no answer.

        Args:
            small_bgr: of `sample`.
            outputs: of the network.
            geometry: how the picture itself was placed in the network's input.
            spec: with what thresholds the prediction was made.
            prediction: in pixels of the picture itself.
        """
        glance = Glance(small_bgr, outputs, geometry, spec, self._bundle, prediction)
        try:
            with self._lock:
                now_s = self._clock()
                frame = Frame(small_bgr, self._measured, time_s=now_s, unix_time_s=None, source="", captured_s=now_s)
                seen = Seen(frame, 0, glance)
                self._watch.add(seen, distance=self._watch.distance(seen))
                self._measured += 1
        except Exception:  # whatever it is, a client must not wait in vain for it
            self._complain("a picture cannot be measured")

    def newest(self) -> tuple[Gauge, ...]:
        """As `judge_if_due`, but between two judgements once more what the last one said; empty before the first."""
        self.judge_if_due()
        return self._newest

    def judge_if_due(self) -> tuple[Gauge, ...]:
        """What is to be told in graphs, once in a while; empty otherwise.

        - `cvforge_drift_images`: pictures of the last hour that were measured;
        - `cvforge_drift_level` by `quantity`, as on a device: 0 ok, 1 notice, 2 drift;
        - `cvforge_drift_found` by `quantity`: the number that was compared, for most the median of the hour.

        What goes wrong is logged once: neither an answer nor a server's health hangs on it.
        """
        with self._lock:
            now_s = self._clock()
            if now_s < self._due_s:
                return ()
            self._due_s = now_s + self._judge_every_s
            try:
                self._newest = self._judged(now_s)
            except Exception:  # likewise
                self._complain("the last hour cannot be compared")
                self._newest = ()
            return self._newest

    def _judged(self, now_s: float) -> tuple[Gauge, ...]:
        events = self._watch.judge(now_s)
        camera = self._watch.cameras[0]
        findings, images = camera.findings.get(HOUR, ()), camera.images.get(HOUR, 0)
        texts = {finding.quantity: finding.text for finding in findings}
        for _, event in events:
            quantity = event.rule.partition(":")[2]
            log_event(event.kind, {"quantity": quantity, "text": texts[quantity]}, level=logging.WARNING)
        gauges = [Gauge(IMAGES, "Pictures of the last hour that were measured.", float(images))]
        for finding in findings:
            labels = (("quantity", finding.quantity),)
            level = float(LEVELS.index(finding.level))
            gauges.append(
                Gauge(LEVEL, "Of the last hour against the reference: 0 ok, 1 notice, 2 drift.", level, labels)
            )
            gauges.append(Gauge(FOUND, "The number that was compared.", finding.found, labels))
        return tuple(gauges)

    def _complain(self, what: str) -> None:
        """Called while an exception is handled."""
        if what not in self._complaints:
            self._complaints.add(what)
            _log.exception("drift: %s; said once", what)
