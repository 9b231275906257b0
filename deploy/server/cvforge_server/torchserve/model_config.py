"""What a worker is told beside its bundle: `model-config.yaml` of an archive, part TorchServe's and part ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvforge_edge.errors import UsageError
from cvforge_edge.evidence.drift import JUDGE_EVERY_S
from cvforge_edge.records import dataclass
from cvforge_server.images import Limits

OURS = "cvforge"


@dataclass(frozen=True)
class ModelConfig:
    """How a model is served.

    Attributes:
        workers: processes, each with the model.
        backend: a name in `cvforge_edge.backends.BACKENDS`.
        precision: `fp32`, `fp16` or `int8`; None for the bundle's first that fits.
        threads: processor threads of one call of the network.
        batch_size: images that one forward pass takes at most, and requests that TorchServe gathers for it; above 1 the bundle
            needs the batch form of the model, which pays on a GPU and not on a processor.
        batch_delay_ms: how long a request waits for others to be gathered.
        response_timeout_s: a worker that needs longer for the requests that were gathered is ended and started anew.
        limits: what is taken on.
        drift_every_s: so often a worker compares what it was asked with the reference of the bundle; 0 for never.
    """

    workers: int = 1
    backend: str = "onnxruntime"
    precision: str | None = None
    threads: int = 1
    batch_size: int = 1
    batch_delay_ms: int = 5
    response_timeout_s: int = 30
    limits: Limits = Limits()
    drift_every_s: float = JUDGE_EVERY_S

    def to_value(self) -> dict[str, Any]:
        """What `model-config.yaml` says."""
        return {
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            "batchSize": self.batch_size,
            "maxBatchDelay": self.batch_delay_ms,
            "responseTimeout": self.response_timeout_s,
            "startupTimeout": 120,
            OURS: {
                "backend": self.backend,
                "precision": self.precision,
                "threads": self.threads,
                "batch_size": self.batch_size,
                "limits": dict(vars(self.limits)),
                "drift_every_s": self.drift_every_s,
            },
        }

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> ModelConfig:
        """The other way round, as a worker needs it.

        Raises:
            UsageError: our part is missing or has other keys than expected.
        """
        ours = dict(value.get(OURS) or {})
        try:
            limits = Limits(**ours.pop("limits"))
            return cls(workers=value["minWorkers"], limits=limits, **ours)
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"model-config.yaml: {OURS}: {error}; make the archive again with tools/serve.py"
            ) from None
