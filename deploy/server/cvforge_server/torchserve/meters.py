"""Figures of answers for Prometheus, through TorchServe's metrics."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from cvforge_edge.status import Gauge
from cvforge_server.core import MS_PER_S, Reply
from cvforge_server.drift import FOUND, IMAGES, LEVEL

_log = logging.getLogger("cvforge_server")
STAGE_SECONDS, REPLIES, OBJECTS = "cvforge_stage_seconds", "cvforge_replies_total", "cvforge_objects_total"
DECLARED = {
    "histogram": [{"name": STAGE_SECONDS, "unit": "s", "dimensions": ["model", "stage"]}],
    "counter": [
        {"name": REPLIES, "unit": "count", "dimensions": ["model", "status"]},
        {"name": OBJECTS, "unit": "count", "dimensions": ["model"]},
    ],
    "gauge": [
        {"name": IMAGES, "unit": "count", "dimensions": ["model", "worker"]},
        {"name": LEVEL, "unit": "level", "dimensions": ["model", "worker", "quantity"]},
        {"name": FOUND, "unit": "value", "dimensions": ["model", "worker", "quantity"]},
    ],
}
"""As TorchServe's `metrics_config` wants them, under `model_metrics`."""


class Meters:
    """Counts replies by status, their objects, and how long stages take; tells drift.

    Args:
        metrics: of the worker's context.
        model: name under which it is served.
        worker: name of this worker, which its successor has, too: each has seen other pictures.

    Raises:
        LookupError: the server was started with a `metrics_config` that does not declare ours.
    """

    def __init__(self, metrics: Any, *, model: str, worker: str) -> None:
        from ts.metrics.metric_cache_errors import MetricsCacheKeyError
        from ts.metrics.metric_type_enum import MetricTypes

        self._model, self._worker = model, worker
        try:
            self._seconds = metrics.get_metric(STAGE_SECONDS, MetricTypes.HISTOGRAM)
            self._replies = metrics.get_metric(REPLIES, MetricTypes.COUNTER)
            self._objects = metrics.get_metric(OBJECTS, MetricTypes.COUNTER)
            self._gauges = {name: metrics.get_metric(name, MetricTypes.GAUGE) for name in (IMAGES, LEVEL, FOUND)}
        except MetricsCacheKeyError as error:
            raise LookupError(f"metrics_config: {error}") from None

    def note(self, reply: Reply) -> None:
        """Count one reply."""
        self._replies.add_or_update(1, [self._model, str(reply.status)])
        for stage, ms in reply.times_ms.items():
            self._seconds.add_or_update(round(ms / MS_PER_S, 6), [self._model, stage])
        if reply.objects:
            self._objects.add_or_update(reply.objects, [self._model])

    def tell(self, gauges: Sequence[Gauge]) -> None:
        """Set gauges of `cvforge_server.drift`; each is a line that TorchServe parses, so seldom."""
        for gauge in gauges:
            labels = [text for _, text in gauge.labels]
            self._gauges[gauge.name].add_or_update(round(gauge.value, 6), [self._model, self._worker, *labels])
