"""Figures of answers for Prometheus, through Ray's metrics; Ray puts `ray_` before their names."""

from __future__ import annotations

from cvforge_server.core import MS_PER_S, Reply

STAGE_SECONDS, REPLIES, OBJECTS = "cvforge_stage_seconds", "cvforge_replies_total", "cvforge_objects_total"
UPDATE_REFUSED = "cvforge_update_refused"
BOUNDARIES_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]


class Meters:
    """Counts replies by status, their objects, and how long stages take; Ray adds application, deployment and replica."""

    def __init__(self) -> None:
        from ray.serve import metrics

        self._seconds = metrics.Histogram(
            STAGE_SECONDS,
            description="Time of decode, network and finish, in seconds",
            boundaries=BOUNDARIES_S,
            tag_keys=("model", "stage"),
        )
        self._replies = metrics.Counter(REPLIES, description="Answers by status", tag_keys=("model", "status"))
        self._objects = metrics.Counter(OBJECTS, description="Objects in answers", tag_keys=("model",))
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
