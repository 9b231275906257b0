"""Requests to a core as tests make them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cvforge_server.core import Core
from cvforge_server.reply import Reply
from cvforge_server.request import Part
from edge.conftest import two_squares
from server.pictures import png_of

SQUARES = png_of(two_squares())
RED, BLUE = (png_of(np.full((20, 30, 3), colour, np.uint8)) for colour in ((0, 0, 255), (255, 0, 0)))
CoreMaker = Callable[..., Core]


def ask(core: Core, *images: bytes, **options: str) -> Reply:
    """The reply to one request with these images."""
    parts = [Part(f"image{number}", data, "image/png") for number, data in enumerate(images)]
    return core.answer([[*parts, *(Part(k, v.encode()) for k, v in options.items())]], ids=["r"])[0]


def statuses(reply: Reply) -> list[int]:
    """Of the images of a request."""
    return [result["status"] for result in reply.value["results"]]
