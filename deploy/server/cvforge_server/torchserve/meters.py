"""Figures of answers for Prometheus, through TorchServe's metrics."""

from __future__ import annotations

import logging
from typing import Any

from cvforge_server.core import MS_PER_S, Reply

_log = logging.getLogger("cvforge_server")
STAGE_SECONDS, REPLIES, OBJECTS = "cvforge_stage_seconds", "cvforge_replies_total", "cvforge_objects_total"
DECLARED = {
    "histogram": [{"name": STAGE_SECONDS, "unit": "s", "dimensions": ["model", "stage"]}],
    "counter": [
        {"name": REPLIES, "unit": "count", "dimensions": ["model", "status"]},
        {"name": OBJECTS, "unit": "count", "dimensions": ["model"]},
    ],
}
"""As TorchServe's `metrics_config` wants them, under `model_metrics`."""


class Meters:
    """Counts replies by status, their objects, and how long stages take.

    Args:
        metrics: of the worker's context.
        model: name under which it is served.

    Raises:
        LookupError: the server was started with a `metrics_config` that does not declare ours.
    """

    def __init__(self, metrics: Any, *, model: str) -> None:
        from ts.metrics.metric_cache_errors import MetricsCacheKeyError
        from ts.metrics.metric_type_enum import MetricTypes

        self._model = model
        try:
            self._seconds = metrics.get_metric(STAGE_SECONDS, MetricTypes.HISTOGRAM)
            self._replies = metrics.get_metric(REPLIES, MetricTypes.COUNTER)
            self._objects = metrics.get_metric(OBJECTS, MetricTypes.COUNTER)
        except MetricsCacheKeyError as error:
            raise LookupError(f"metrics_config: {error}") from None

    def note(self, reply: Reply) -> None:
        """Count one reply."""
        self._replies.add_or_update(1, [self._model, str(reply.status)])
        for stage, ms in reply.times_ms.items():
            self._seconds.add_or_update(round(ms / MS_PER_S, 6), [self._model, stage])
        if reply.objects:
            self._objects.add_or_update(reply.objects, [self._model])
