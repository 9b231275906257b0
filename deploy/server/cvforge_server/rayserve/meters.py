"""Figures of answers for Prometheus, through Ray's metrics; Ray puts `ray_` before their names."""

from __future__ import annotations

from cvforge_server.core import MS_PER_S
from cvforge_server.reply import Reply
from cvforge_server.tally import BOUNDARIES_S, LABELS, OBJECTS, REPLIES, STAGE_SECONDS, SUM

UPDATE_REFUSED = "cvforge_update_refused"


class Meters:
    """Counts replies by status, their objects, and how long stages take; Ray adds application, deployment and replica."""

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
