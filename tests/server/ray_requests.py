"""Requests of HTTP as Ray Serve hands them to a replica, and what it says to them, without a cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass

PREFIX = "/predictions/m"


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    value: Any
    content_type: str


def http_request(
    *chunks: bytes,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    below: str = "",
    query: str = "",
    disconnect: bool = False,
) -> Any:
    """A request whose body comes in pieces; with `disconnect` the client is gone after them."""
    from starlette.requests import Request

    pieces = iter(chunks)
    left = [len(chunks)]

    async def receive() -> dict[str, Any]:
        left[0] -= 1
        if left[0] < 0:
            return {"type": "http.disconnect"}
        more = left[0] > 0 or disconnect
        return {"type": "http.request", "body": next(pieces), "more_body": more}

    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": PREFIX + below, "root_path": PREFIX, "headers": encoded}
    return Request({**scope, "query_string": query.encode()}, receive)


def replies(replica: Any, requests: Sequence[Any]) -> list[Said]:
    """What a replica says to requests that come at once."""

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(replica, requests))

    return [Said(r.status_code, json.loads(r.body), r.headers["content-type"]) for r in run(all_of_them)]


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """The result of a coroutine."""

    async def main() -> Any:
        return await work()

    return asyncio.run(main())
