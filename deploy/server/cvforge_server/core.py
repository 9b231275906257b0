"""From requests to answers: what every server does with them, and no server does in another way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.bundle import open_bundle
from cvforge_edge.manifest import Manifest
from cvforge_edge.postprocess import Outputs
from cvforge_edge.predictor import Predictor
from cvforge_server.drift import Drift
from cvforge_server.errors import RequestError
from cvforge_server.forward import forward
from cvforge_server.images import Limits, PixelBudget
from cvforge_server.item import OK, Item, unexpected
from cvforge_server.kserve import Envelope
from cvforge_server.reply import Reply, ReplyWriter, refused
from cvforge_server.request import ImageRequest, Part, read_request
from cvforge_server.request_log import about
from cvforge_server.room import NO_ROOM

if TYPE_CHECKING:
    from cvforge_edge.trust import TrustStore

GREY = 114
MS_PER_S = 1000.0
TIME_DECIMALS = 3


class Core:
    """Answers requests with one loaded model; may be called from several threads.

    Args:
        predictor: of the batch form, or of one image at a time.
        fingerprint: SHA-256 of the bundle's manifest, which stands for everything in it.
        limits: what is taken on.
        batch_size: images that one forward pass takes at most; 1 where the model is not of the batch form.
        drift: compares what is asked with the reference of the bundle; None where nobody does.

    Attributes:
        model: what every answer says about it: `name`, `version`, `task`, `fingerprint`.
        drift: as given; its `judge_if_due` has figures now and then.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        fingerprint: str,
        limits: Limits,
        batch_size: int = 1,
        drift: Drift | None = None,
    ) -> None:
        self._predictor, self._limits, self._batch_size = predictor, limits, batch_size
        self.drift = drift
        self._manifest = manifest = predictor.manifest
        self.model: dict[str, Any] = {
            "name": manifest.name,
            "version": manifest.version,
            "task": manifest.task.value,
            "fingerprint": fingerprint,
        }

    @classmethod
    def from_bundle(
        cls,
        folder: Path | str,
        *,
        backend: str = "onnxruntime",
        precision: str | None = None,
        threads: int = 1,
        trust: TrustStore | None = None,
        limits: Limits | None = None,
        batch_size: int = 1,
        drift_every_s: float = 0,
    ) -> Core:
        """Check a bundle, load one of its models and run it once.

        Args:
            folder: the bundle.
            backend: a name in `cvforge_edge.backends.BACKENDS`.
            precision: as in `Predictor.from_bundle`.
            threads: processor threads of one call.
            trust: as in `Predictor.from_bundle`.
            limits: what is taken on; None for the usual.
            batch_size: above 1 the batch form of the model is taken, which the bundle must have.
            drift_every_s: so often what was asked is compared with the reference of the bundle; 0 for never.

        Raises:
            EdgeError: the bundle is damaged or not trusted, has no such model, or the model fails.
        """
        bundle = open_bundle(folder, trust=trust)
        drift = Drift.of_bundle(bundle, judge_every_s=drift_every_s)
        predictor = Predictor.of_bundle(
            bundle, backend=backend, precision=precision, threads=threads, batch=batch_size > 1
        )
        limits = limits or Limits()
        fingerprint = bundle.manifest_sha256
        core = cls(predictor, fingerprint=fingerprint, limits=limits, batch_size=batch_size, drift=drift)
        try:
            core.warm_up()
        except BaseException:
            core.close()
            raise
        return core

    def warm_up(self) -> None:
        """Run a whole batch once, on grey: for what a runtime prepares at its first run no client waits.

        Raises:
            BackendError: the model does not fit its manifest, or fails.
        """
        size_hw = self._manifest.preprocess.size_hw
        self._predictor.raw_outputs_of(np.full((self._batch_size, *size_hw, 3), GREY, np.uint8))

    def close(self) -> None:
        """Free the model."""
        self._predictor.close()

    def refusal(self, problem: RequestError, *, request_id: str) -> Reply:
        """The reply to a request that is refused as a whole.

        Args:
            problem: why.
            request_id: as the answer names it.
        """
        return refused({"request_id": request_id, "model": self.model}, problem)

    def answer(self, requests: Sequence[Sequence[Part]], *, ids: Sequence[str]) -> list[Reply]:
        """One reply for each request, in their order; none fails because of another.

        Args:
            requests: each as its parts.
            ids: of the requests, as the answers name them.
        """
        visits = [_Visit(parts, request_id) for parts, request_id in zip(requests, ids, strict=True)]
        for visit in visits:
            with about(visit.request_id):
                visit.open(self._manifest, self._limits, drift=self.drift)
        started_s = time.monotonic()
        inputs_u8 = {item: item.input_u8 for visit in visits for item in visit.items if item.input_u8 is not None}
        owners = [visit.request_id for visit in visits for item in visit.items if item in inputs_u8]
        found = forward(self._predictor, [*inputs_u8.values()], batch_size=self._batch_size, request_ids=owners)
        outputs = dict(zip(inputs_u8, found, strict=True))
        network_ms = _ms_since(started_s)
        replies = []
        for visit in visits:
            if visit.problem is not None:
                replies.append(self.refusal(visit.problem, request_id=visit.request_id))
                continue
            with about(visit.request_id):
                replies.append(
                    visit.reply(
                        outputs,
                        self._manifest,
                        model=self.model,
                        network_ms=network_ms,
                        answer_mb=self._limits.answer_mb,
                    )
                )
        return replies


class _Visit:
    """One request while it is answered."""

    def __init__(self, parts: Sequence[Part], request_id: str) -> None:
        self._parts, self.request_id = parts, request_id
        self._request: ImageRequest | None = None
        self.problem: RequestError | None = None
        self._envelope = Envelope() if any(part.json_length for part in parts) else None
        self._decode_ms = 0.0
        self.items: list[Item] = []

    def open(self, manifest: Manifest, limits: Limits, *, drift: Drift | None) -> None:
        started_s = time.monotonic()
        try:
            self._request = read_request(self._parts, limits=limits, task=manifest.task, labels=manifest.labels)
        except RequestError as problem:
            self.problem = problem.without_frames()
            return
        except Exception:  # a request that we have no idea of must not fail those gathered with it
            self.problem = unexpected("a request cannot be read")
            self.problem.envelope = self._envelope
            return
        self._envelope = self._request.envelope
        self.items = [Item(upload, drift) for upload in self._request.uploads]
        budget = PixelBudget(limits)
        for item in self.items:
            item.open(manifest.preprocess, limits, budget)
        self._decode_ms = _ms_since(started_s)

    def reply(
        self,
        outputs: Mapping[Item, Outputs | RequestError],
        manifest: Manifest,
        *,
        model: dict[str, Any],
        network_ms: float,
        answer_mb: float,
    ) -> Reply:
        assert self._request is not None
        started_s = time.monotonic()
        writer = ReplyWriter(
            {"request_id": self.request_id, "model": model},
            envelope=self._envelope,
            answer_mb=answer_mb,
            refusals=[item.refusal(item.problem or NO_ROOM) for item in self.items],
        )
        for item in self.items:
            row = item.finish(
                outputs.get(item),
                manifest.postprocess,
                labels=manifest.labels,
                options=self._request.options,
                write=writer.row,
                room=writer.room,
            )
            writer.add(row)
        times_ms = {"decode": self._decode_ms, "network": network_ms, "finish": _ms_since(started_s)}
        rounded = {name: round(ms, TIME_DECIMALS) for name, ms in times_ms.items()}
        problems = [item.problem for item in self.items if item.problem is not None]
        gravest = max(problems, key=lambda one: one.status) if len(problems) == len(self.items) else None
        text, tail = writer.written(rounded, problem=gravest)
        return Reply(
            OK if gravest is None else gravest.status,
            text,
            times_ms,
            objects=sum(item.objects for item in self.items),
            tail=tail,
            images=len(self.items),
            codes=tuple("ok" if item.problem is None else item.problem.code.value for item in self.items),
        )


def _ms_since(started_s: float) -> float:
    return (time.monotonic() - started_s) * MS_PER_S
