"""Figures of answers for Prometheus, through TorchServe's metrics."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from cvforge_edge.status import Gauge
from cvforge_server.drift import FOUND, IMAGES, LEVEL
from cvforge_server.reply import Reply
from cvforge_server.tally import LABELS, Tally

TELL_S = 2.0
"""Each figure is a line on standard output that Java parses: told for each request, they were a tenth of what it cost."""
DECLARED = {
    "counter": [{"name": name, "unit": "count", "dimensions": [*labels]} for name, labels in LABELS.items()],
    "gauge": [
        {"name": IMAGES, "unit": "count", "dimensions": ["model", "worker"]},
        {"name": LEVEL, "unit": "level", "dimensions": ["model", "worker", "quantity"]},
        {"name": FOUND, "unit": "value", "dimensions": ["model", "worker", "quantity"]},
    ],
}
"""As TorchServe's `metrics_config` wants them, under `model_metrics`."""


class Meters:
    """Counts replies by status, their objects, and how long stages take; tells drift.

    Counters are told every two seconds, by a thread of their own, so that the last requests before a pause are in them. A
    worker that is killed takes what it has not told with it.

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
        self._tally = Tally(model=model)
        try:
            self._counters = {name: metrics.get_metric(name, MetricTypes.COUNTER) for name in LABELS}
            self._gauges = {name: metrics.get_metric(name, MetricTypes.GAUGE) for name in (IMAGES, LEVEL, FOUND)}
        except MetricsCacheKeyError as error:
            raise LookupError(f"metrics_config: {error}") from None
        threading.Thread(target=self._keep_telling, name="meters", daemon=True).start()

    def note(self, reply: Reply) -> None:
        """Count one reply."""
        self._tally.note(reply)

    def tell(self, gauges: Sequence[Gauge]) -> None:
        """Set gauges of `cvforge_server.drift`; each is a line that TorchServe parses, so seldom."""
        for gauge in gauges:
            labels = [text for _, text in gauge.labels]
            self._gauges[gauge.name].add_or_update(round(gauge.value, 6), [self._model, self._worker, *labels])

    def _keep_telling(self) -> None:
        never = threading.Event()
        while not never.wait(TELL_S):
            for increase in self._tally.take():
                self._counters[increase.name].add_or_update(increase.by, [*increase.labels])
