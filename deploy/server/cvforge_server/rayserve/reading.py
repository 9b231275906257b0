"""A request of HTTP as parts: its body within a limit, the fields of its form, and options of its address and header."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from cvforge_server.errors import Code, RequestError
from cvforge_server.images import BYTES_PER_MB
from cvforge_server.kserve import LENGTH_HEADER
from cvforge_server.options import OPTION_NAMES, OPTIONS_HEADER
from cvforge_server.rayserve.form import FORM_TYPE, read_form
from cvforge_server.request import Part
from cvforge_server.request_log import request_id_from

if TYPE_CHECKING:
    from starlette.requests import Request

LENGTH_DIGITS = 19
"""More than any body has bytes."""


def request_id(request: Request) -> str:
    """The client's or the proxy's name of a request where it is a sane one, otherwise a new one."""
    return request_id_from(request.headers) or str(uuid.uuid4())


async def read_parts(request: Request, *, most_mb: float, most_images: int) -> list[Part]:
    """The parts of a request: its body, or the fields of its form, and options of the address and of the header.

    Args:
        request: whose body has not been read.
        most_mb: of the body, in MB of 10^6 bytes, whether its length is announced or not.
        most_images: of a form.

    Raises:
        RequestError: the body is too large or ends early, or it is no form although it says so.
    """
    content_type = request.headers.get("content-type", "")
    body = await _read_body(request, most_mb=most_mb)
    if content_type.partition(";")[0].strip().lower() == FORM_TYPE:
        parts = read_form(body, content_type, most_parts=most_images + len(OPTION_NAMES))
    else:
        parts = [Part("body", body, content_type, request.headers.get(LENGTH_HEADER, ""))]
    header = parse_qsl(request.headers.get(OPTIONS_HEADER, ""), keep_blank_values=True)
    options = [*request.query_params.multi_items(), *header]
    return [*parts, *(Part(name, text.encode("utf-8", "replace")) for name, text in options)]


async def _read_body(request: Request, *, most_mb: float) -> bytes:
    from starlette.requests import ClientDisconnect

    most = round(most_mb * BYTES_PER_MB)
    problem = RequestError(Code.TOO_LARGE, f"the body is larger than accepted: {most_mb:g} MB; send several requests")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:LENGTH_DIGITS]) > most:
        raise problem
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise problem
    except ClientDisconnect:
        raise RequestError(Code.MALFORMED, "the connection was closed before the end of the body") from None
    return bytes(body)
