"""What TorchServe calls: its requests become those of the core, and the core's replies its answers."""

from __future__ import annotations

import os

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import cv2

from cvforge_edge.errors import BundleError, EdgeError
from cvforge_server.core import Core
from cvforge_server.item import OK
from cvforge_server.kserve import LENGTH_HEADER
from cvforge_server.options import OPTIONS_HEADER
from cvforge_server.reply import Reply
from cvforge_server.request import Part
from cvforge_server.request_log import (
    REFUSED,
    about,
    log_event,
    log_reply,
    request_id_from,
    write_json_lines,
)
from cvforge_server.torchserve.meters import Meters
from cvforge_server.torchserve.model_config import ModelConfig
from cvforge_server.torchserve.server_logs import WORKERS_NOISE
from cvforge_server.torchserve.worker_gpu import choose_gpu

_log = logging.getLogger("cvforge_server")
BUNDLE_FOLDER = "bundle"
MODEL_PARAMETER = "model_name"
BODY = "body"


class TorchServeShell:
    """A handler whose workers answer from the bundle inside their archive.

    `initialize` and `handle` are the two methods that TorchServe looks for.
    """

    def __init__(self) -> None:
        self._core: Core | None = None
        self._meters: Meters | None = None

    def initialize(self, context: Any) -> None:
        """Load the bundle; where this raises, TorchServe starts the worker again, later and later.

        Args:
            context: of the worker, with `system_properties` and `model_yaml_config`.

        Raises:
            EdgeError: the bundle is damaged, or no runtime fits it.
        """
        worker = _worker(sys.argv)
        write_json_lines(model=context.model_name, worker=worker)
        folder = Path(context.system_properties["model_dir"])
        config = ModelConfig.read(context.model_yaml_config)
        logging.getLogger().addFilter(_is_worth_a_line)
        choose_gpu(context.system_properties.get("gpu_id"), os.environ)
        cv2.setNumThreads(1)  # one core a worker: more workers, not more threads
        try:
            self._core = Core.from_bundle(
                folder / BUNDLE_FOLDER,
                backend=config.backend,
                precision=config.precision,
                threads=config.threads,
                limits=config.limits,
                batch_size=config.batch_size,
                drift_every_s=config.drift_every_s,
            )
        except EdgeError as error:
            log_event(REFUSED, {"reason": "; ".join(str(error).splitlines())}, level=logging.ERROR)
            raise
        self._meters = _meters(context, worker)
        log_event("ready", {key: self._core.model[key] for key in ("version", "fingerprint")})

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer the requests that TorchServe has gathered, each with a status of its own.

        Args:
            data: of each request the parts by name.
            context: gets statuses, headers and metrics.
        """
        ids = [_request_id(context, number) for number in range(len(data))]
        try:
            return self._bodies(data, context, ids)
        except Exception:  # TorchServe tells the clients, and logs it without saying whose requests these were
            with about(*ids):
                _log.exception("requests cannot be answered")
            raise

    def _bodies(self, data: Sequence[Mapping[str, Any]], context: Any, ids: Sequence[str]) -> list[bytes]:
        if self._core is None:
            raise BundleError("the worker has no model: initialize was not called")
        requests = [_parts(fields, context, number) for number, fields in enumerate(data)]
        replies = self._core.answer(requests, ids=ids)
        bodies = [reply.body for reply in replies]
        for number, (reply, body) in enumerate(zip(replies, bodies, strict=True)):
            if reply.status != OK:
                context.set_response_status(reply.status, reply.phrase, number)
            context.set_response_content_type(number, reply.content_type)
            for name, value in reply.headers.items():
                context.set_response_header(number, name, value)
            log_reply(
                reply,
                request_id=ids[number],
                server_id=context.get_request_id(number) or "",
                version=self._core.model["version"],
                bytes_in=sum(len(part.data) for part in requests[number]),
                bytes_out=len(body),
            )
        self._measure(replies)
        return bodies

    def _measure(self, replies: Sequence[Reply]) -> None:
        """The figures of requests and, now and then, of drift."""
        drift = None if self._core is None else self._core.drift
        gauges = () if drift is None else drift.judge_if_due()
        if self._meters is not None:
            for reply in replies:
                self._meters.note(reply)
            self._meters.tell(gauges)


def _parts(fields: Mapping[str, Any], context: Any, number: int) -> list[Part]:
    """TorchServe keeps the content type of a part among the request's headers, by the part's name.

    It drops what stands in the address after `/predictions/NAME?`, so that options of a bare image come in a header; those
    of `/invocations?model_name=NAME&...` it hands on.
    """
    found = context.get_all_request_header(number)
    headers = {name.lower(): value for name, value in found.items() if isinstance(value, str)}
    parts = []
    for name, value in fields.items():
        if name == MODEL_PARAMETER:
            continue
        content_type = found.get(name, {}).get("content-type", "") if isinstance(found.get(name, {}), dict) else ""
        data = value.encode("utf-8") if isinstance(value, str) else bytes(value)
        parts.append(Part(name, data, content_type, _json_length(name, data, content_type, headers)))
    pairs = parse_qsl(headers.get(OPTIONS_HEADER.lower(), ""), keep_blank_values=True)
    return parts + [Part(option, text.encode("utf-8")) for option, text in pairs]


def _json_length(name: str, data: bytes, content_type: str, headers: Mapping[str, str]) -> str:
    """Of the open inference protocol by HTTP its header; by gRPC TorchServe writes JSON for it, and there are no headers.

    An answer in another form to the latter would end the worker: TorchServe takes `id`, `model_name`, `model_version` and
    `outputs` out of it without looking whether they are there.
    """
    if name != BODY:
        return ""
    if content_type and not headers:
        return str(len(data))
    return headers.get(LENGTH_HEADER.lower(), "")


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """TorchServe's worker says of each request when it came; Java would parse that line and write it down."""
    return not str(record.msg).startswith(WORKERS_NOISE)


def _request_id(context: Any, number: int) -> str:
    """The client's, or else the server's."""
    return request_id_from(context.get_all_request_header(number)) or context.get_request_id(number) or ""


def _worker(arguments: Sequence[str]) -> str:
    """The number that TorchServe gives a worker, and to its successor: the end of its socket's name."""
    names = [after for option, after in zip(arguments, arguments[1:], strict=False) if option == "--sock-name"]
    return names[0].rpartition(".")[2] if names else str(os.getpid())


def _meters(context: Any, worker: str) -> Meters | None:
    try:
        return Meters(context.metrics, model=context.model_name, worker=worker)
    except LookupError as error:
        _log.warning("no figures for Prometheus: %s; start the server with tools/serve.py", error)
        return None
