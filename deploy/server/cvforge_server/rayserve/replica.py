"""One replica on Ray Serve: a loaded bundle that answers, and is exchanged for another one while requests come in."""

from __future__ import annotations

import os

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2

from cvforge_edge.errors import UsageError
from cvforge_edge.trust import read_optional_trust
from cvforge_server.core import MS_PER_S, Core
from cvforge_server.errors import Code, RequestError
from cvforge_server.item import unexpected
from cvforge_server.rayserve.meters import Meters
from cvforge_server.rayserve.network_thread import NetworkThread
from cvforge_server.rayserve.reading import read_parts, request_id
from cvforge_server.rayserve.settings import BUNDLE, Settings, absolute_path
from cvforge_server.reply import Reply
from cvforge_server.request import Part
from cvforge_server.request_log import about, log_event, log_reply, write_json_lines

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_log = logging.getLogger("cvforge_server")
ASKING, LOOKING = ("POST", "PUT"), ("GET", "HEAD")
READY_PATH = "/ready"


class Predictions:
    """A deployment's class, of which Ray makes one object a replica.

    `reconfigure`, `check_health` and `__call__` are the methods that Ray Serve looks for.

    Args:
        settings: how to serve.
    """

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)  # one core a replica: more replicas, not more threads
        write_json_lines(None, **_where())  # to standard output, which Ray keeps in worker-*.out
        self._settings, self._trust = settings, read_optional_trust(settings.trust)
        self._core: Core | None = None
        self._folder: str | None = None
        self._update_refused = False
        self._meters = Meters()
        self._network = NetworkThread(self._probe, longest_call_s=settings.longest_call_s)
        self._answer = self._answer_alone if settings.batch_size == 1 else self._gathering()

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load the bundle that the configuration names; requests under way are answered by the one before.

        A bundle that cannot be loaded is refused while there is one that answers: raised here, the error would make Ray end
        this replica, and start others that fail as well. The bundle that answers is not loaded again: Ray also calls this when
        replicas come and go.

        Args:
            user_config: `{"bundle": absolute path}`.

        Raises:
            EdgeError: there is no bundle yet, and this one is damaged, not trusted or does not fit.
        """
        loop = asyncio.get_running_loop()
        try:
            folder = bundle_path(user_config)
            if folder == self._folder:
                self._note_update(refused=False)
                return
            core = await loop.run_in_executor(None, self._load, folder)
        except Exception as error:
            if self._core is None:
                raise
            self._note_update(refused=True)
            _log.error("update refused, %s goes on answering: %s", self._core.model, error)
        else:
            await self._network.run(lambda: self._exchange(core))
            self._folder = folder
            self._note_update(refused=False)
            _log.info("ready: %s", core.model)

    async def check_health(self) -> None:
        """Run the network once, behind the requests that wait; Ray replaces a replica where this fails three times.

        Drift is told here: as often as Ray asks, whether clients do or not.

        Raises:
            UsageError: the configuration names no bundle.
            BackendError: the network fails or hangs.
        """
        self._loaded()
        await self._network.check()
        self._note_update(refused=self._update_refused)  # Ray forgets a gauge that nobody sets

    async def __call__(self, request: Request) -> Response:
        """Answer one request of HTTP; `GET .../ready` says which model answers.

        Ray cancels this where the client goes, or after `request_timeout_s`: what has not begun then never begins.
        """
        from starlette.responses import JSONResponse, Response

        name, core = request_id(request), self._loaded()
        parts: list[Part] = []
        try:
            if _is_look(request):
                return JSONResponse({"model": core.model, "update_refused": self._update_refused})
            settings = self._settings
            parts = await read_parts(request, most_mb=settings.max_request_mb, most_images=settings.max_images)
            reply = await self._answer(parts, name)
        except RequestError as problem:
            reply = core.refusal(problem, request_id=name)
        except asyncio.CancelledError:  # the client is gone, or Ray has told it that it took too long
            with about(name):
                log_event("given_up", {})
            raise
        except Exception:  # whatever it is, the client gets an answer in the form that is documented
            reply = core.refusal(unexpected("a request cannot be answered"), request_id=name)
        body = reply.body
        self._note(reply, name, bytes_in=sum(len(part.data) for part in parts), bytes_out=len(body))
        return Response(body, reply.status, reply.headers, reply.content_type)

    async def _answer_alone(self, parts: Sequence[Part], name: str) -> Reply:
        (reply,) = await self._answer_together([parts], [name])
        return reply

    def _gathering(self) -> Callable[[Sequence[Part], str], Awaitable[Reply]]:
        """Like `_answer_alone` for a client, but the requests of a moment are gathered, and go through the network together."""
        from ray import serve

        delay_s = self._settings.batch_delay_ms / MS_PER_S
        gather = serve.batch(max_batch_size=self._settings.batch_size, batch_wait_timeout_s=delay_s)
        gathered: Callable[[Sequence[Part], str], Awaitable[Reply]] = gather(self._answer_together)
        return gathered

    async def _answer_together(self, requests: list[Sequence[Part]], ids: list[str]) -> list[Reply]:
        return await self._network.run(lambda: self._loaded().answer(requests, ids=ids))

    def _load(self, folder: str) -> Core:
        settings = self._settings
        return Core.from_bundle(
            folder,
            backend=settings.backend,
            precision=settings.precision,
            threads=settings.threads,
            trust=self._trust,
            limits=settings.limits,
            batch_size=settings.batch_size,
            drift_every_s=settings.drift_every_s,
        )

    def _probe(self) -> None:
        """In the thread of the network, so that no request waits for the comparison with the reference on the event loop."""
        core = self._loaded()
        core.warm_up()
        if core.drift is not None:
            self._meters.tell(core.drift.newest(), model=core.model)

    def _exchange(self, core: Core) -> None:
        """In the thread of the network, so that nothing runs on what is closed here."""
        before, self._core = self._core, core
        if before is not None:
            before.close()

    def _loaded(self) -> Core:
        if self._core is None:
            raise UsageError(f"user_config: found none, accepted {{{BUNDLE}: absolute path}}; name a bundle")
        return self._core

    def _note_update(self, *, refused: bool) -> None:
        self._update_refused = refused
        self._meters.note_update(model=self._loaded().model["name"], refused=refused)

    def _note(self, reply: Reply, name: str, *, bytes_in: int, bytes_out: int) -> None:
        """One line of the log, and the figures of one request."""
        model = self._loaded().model
        self._meters.note(reply, model=model["name"])
        log_reply(
            reply,
            request_id=name,
            server_id=name,
            version=model["version"],
            bytes_in=bytes_in,
            bytes_out=bytes_out,
        )


def bundle_path(user_config: Any) -> str:
    """The folder that a `user_config` names.

    Raises:
        UsageError: it has other keys, or the path is relative.
    """
    if not isinstance(user_config, Mapping) or set(user_config) != {BUNDLE}:
        raise UsageError(f"user_config: found {user_config!r}, accepted {{{BUNDLE}: absolute path}}")
    try:
        return absolute_path(str(user_config[BUNDLE]))
    except ValueError as error:
        raise UsageError(f"user_config: {BUNDLE}: {error}") from None


def _is_look(request: Request) -> bool:
    """Whether a request asks for the model, and not for a prediction.

    Raises:
        RequestError: another method or path than there is.
    """
    below = request.scope["path"].removeprefix(request.scope.get("root_path", "")).rstrip("/")
    if request.method in LOOKING and below in ("", READY_PATH):
        return True
    if request.method in ASKING and not below:
        return False
    raise RequestError(
        Code.MALFORMED,
        f"found {request.method} {below[:60] or '/'!r} below the model, accepted POST with images, or GET {READY_PATH}",
    )


def _where() -> dict[str, str]:
    """What every line of the log says of this replica; nothing outside of Ray."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        context = serve.get_replica_context()
    except RayServeException:
        return {}
    return {"application": context.app_name, "replica": context.replica_id.unique_id}
