"""Figures of answers for Prometheus, through Ray's metrics; Ray puts `ray_` before their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cvforge_edge.status import Gauge
from cvforge_server.core import MS_PER_S
from cvforge_server.reply import Reply
from cvforge_server.tally import BOUNDARIES_S, LABELS, OBJECTS, REPLIES, STAGE_SECONDS, SUM

UPDATE_REFUSED = "cvforge_update_refused"


class Meters:
    """Counts replies by status, their objects, and how long stages take; tells drift.

    Ray adds application, deployment and replica to each, and forgets a gauge that is not set for some 20 seconds.
    """

    def __init__(self) -> None:
        from ray.serve import metrics

        self._seconds = metrics.Histogram(
            STAGE_SECONDS,
            description="Time of decode, network and finish, in seconds",
            boundaries=[*BOUNDARIES_S],
            tag_keys=LABELS[SUM],
        )
        self._replies = metrics.Counter(REPLIES, description="Answers by status", tag_keys=LABELS[REPLIES])
        self._objects = metrics.Counter(OBJECTS, description="Objects in answers", tag_keys=LABELS[OBJECTS])
        self._refused = metrics.Gauge(
            UPDATE_REFUSED, description="1 where the last new bundle could not be loaded", tag_keys=("model",)
        )
        self._gauges: dict[str, Any] = {}

    def note(self, reply: Reply, *, model: str) -> None:
        """Count one reply.

        Args:
            reply: to a client.
            model: name in the bundle.
        """
        self._replies.inc(1, tags={"model": model, "status": str(reply.status)})
        for stage, ms in reply.times_ms.items():
            self._seconds.observe(ms / MS_PER_S, tags={"model": model, "stage": stage})
        if reply.objects:
            self._objects.inc(reply.objects, tags={"model": model})

    def note_update(self, *, model: str, refused: bool) -> None:
        """Say how the last update went."""
        self._refused.set(float(refused), tags={"model": model})

    def tell(self, gauges: Sequence[Gauge], *, model: Mapping[str, Any]) -> None:
        """Set gauges of `cvforge_server.drift`.

        Args:
            gauges: of a name all with the same labels.
            model: `name` and `version` of the bundle: figures of the one before are not mistaken for those of the next.
        """
        from ray.serve import metrics

        for gauge in gauges:
            tags = {"model": model["name"], "version": str(model["version"]), **dict(gauge.labels)}
            if gauge.name not in self._gauges:
                self._gauges[gauge.name] = metrics.Gauge(gauge.name, description=gauge.text, tag_keys=(*tags,))
            self._gauges[gauge.name].set(gauge.value, tags=tags)
