"""The serving core as a Ray Serve application: replicas over many machines, with scaling, batches and rolling updates.

    serve run cvforge_server.ray_app:build bundle=bundles/det_bccd
    serve deploy deploy/server/serve.yaml

`build` is what the `import_path` of a config names; its `args` are those of `Settings`. Answers, options and statuses are those
of TorchServe's handler, at `/predictions/NAME` where the config gives this as the `route_prefix`.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

from ray import serve
from ray.serve import Application
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cvforge_edge.errors import UsageError
from cvforge_server.core import Core, Reply
from cvforge_server.images import BYTES_PER_MB, Limits
from cvforge_server.openapi import OPTIONS_HEADER
from cvforge_server.request import Part

FORM = "multipart/form-data"
READY_PATH = "/ready"


@dataclass(frozen=True)
class Settings:
    """What a replica is told; the `args` of a config.

    Attributes:
        bundle: folder that every machine of the cluster reaches. A new bundle goes into a new folder: a changed path is what
            starts a rolling update.
        backend: a name in `cvforge_edge.backends.BACKENDS`.
        precision: `fp32`, `fp16` or `int8`; None for the bundle's first that fits.
        threads: processor threads of one call of the network.
        largest_batch: requests that are answered together; above 1 the bundle needs the batch form of the model.
        batch_wait_ms: how long a request waits for others.
        max_images: in one request.
        max_mb: of one image.
        max_megapixels: of one image.
    """

    bundle: str
    backend: str = "onnxruntime"
    precision: str | None = None
    threads: int = 1
    largest_batch: int = 1
    batch_wait_ms: int = 5
    max_images: int = 16
    max_mb: float = 20.0
    max_megapixels: float = 50.0

    @property
    def limits(self) -> Limits:
        """As the core takes them."""
        return Limits(self.max_images, self.max_mb, self.max_megapixels)


def build(args: Mapping[str, Any]) -> Application:
    """The application for a config.

    Args:
        args: those of `Settings`.

    Raises:
        UsageError: an unknown argument, or none for the bundle.
    """
    known = {field.name for field in fields(Settings)}
    unknown = sorted(set(args) - known)
    if unknown or "bundle" not in args:
        raise UsageError(
            f"args: found {', '.join(args) or 'none'}, accepted bundle and {', '.join(sorted(known - {'bundle'}))}"
        )
    settings = Settings(**dict(args))
    application: Application = Predictions.bind(settings)
    return application


@serve.deployment(max_ongoing_requests=16, graceful_shutdown_timeout_s=30)
class Predictions:
    """One replica: a loaded bundle, and a thread in which the network runs.

    Args:
        settings: what to serve.

    Raises:
        EdgeError: the bundle is damaged, or no runtime fits it; Ray then keeps the replicas that it has.
    """

    def __init__(self, settings: Settings) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        import cv2

        cv2.setNumThreads(1)
        self._settings = settings
        self._core = Core.from_bundle(
            settings.bundle,
            backend=settings.backend,
            precision=settings.precision,
            threads=settings.threads,
            limits=settings.limits,
            largest_batch=settings.largest_batch,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._answer.set_max_batch_size(settings.largest_batch)
        self._answer.set_batch_wait_timeout_s(settings.batch_wait_ms / 1000)

    async def __call__(self, request: Request) -> Response:
        """Answer one request; `GET .../ready` says which model answers."""
        if request.method == "GET":
            return JSONResponse(self._core.model)
        if int(request.headers.get("content-length") or 0) > self._most_bytes():
            return JSONResponse({"error": {"code": "too_large", "message": "the request is too large"}}, 413)
        reply = await self._answer(await parts_of(request))
        return Response(reply.body, reply.status, media_type="application/json")

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.005)
    async def _answer(self, requests: list[Sequence[Part]]) -> list[Reply]:
        ids = [str(uuid.uuid4()) for _ in requests]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: self._core.answer(requests, ids=ids))

    def _most_bytes(self) -> float:
        """Of a body: all images that are accepted, in base64."""
        return self._settings.max_images * self._settings.max_mb * BYTES_PER_MB * 4 / 3 + BYTES_PER_MB


async def parts_of(request: Request) -> list[Part]:
    """The parts of a request: its body, or the fields of its form, and options of the address and of the header."""
    content_type = request.headers.get("content-type", "")
    parts = []
    if content_type.startswith(FORM):
        async with request.form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    parts.append(Part(name, await value.read(), value.content_type or "application/octet-stream"))
                else:
                    parts.append(Part(name, value.encode("utf-8")))
    else:
        parts.append(Part("body", await request.body(), content_type))
    options = [
        *request.query_params.multi_items(),
        *parse_qsl(request.headers.get(OPTIONS_HEADER, ""), keep_blank_values=True),
    ]
    return [*parts, *(Part(name, text.encode("utf-8")) for name, text in options)]
