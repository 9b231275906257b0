"""Requests of the open inference protocol as tests make them, and what they read in the answers."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from cvforge_edge.strict_json import parse_strict
from cvforge_server.core import Core
from cvforge_server.reply import Reply
from cvforge_server.request import Part
from server.asking import SQUARES

JSON = "application/json"
BAD = SQUARES[:-20]


def tensor(*images: bytes, name: str = "image", **changes: Any) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"name": name, "shape": [len(images)], "datatype": "BYTES", "data": data, **changes}


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def infer(core: Core, value: Any, tail: bytes = b"", *, header: bool = False) -> Reply:
    """The reply to one request; `header` tells the length of the JSON also where nothing follows it."""
    body = json.dumps(value).encode()
    length = str(len(body)) if tail or header else ""
    return core.answer([[Part("body", body + tail, "" if length else JSON, length)]], ids=["r"])[0]


def rows(reply: Reply) -> list[dict[str, Any]]:
    """What the answer says about each image."""
    (output,) = reply.value["outputs"]
    assert output["name"] == "results" and output["datatype"] == "BYTES" and output["shape"] == [len(output["data"])]
    return [json.loads(text) for text in output["data"]]


def refusal(reply: Reply) -> dict[str, Any]:
    """Of the request as a whole."""
    value = parse_strict(reply.body.decode())
    (output,) = value["outputs"]
    assert output["name"] == "error" and output["shape"] == [1]
    error: dict[str, Any] = json.loads(output["data"][0])
    assert value["error"] == f"{error['code']}: {error['message']}"
    assert reply.content_type == JSON and reply.headers == {}
    return error
