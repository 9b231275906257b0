"""What a client sent, in whichever form: a bare image, a form with several, or JSON; read into images and options."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import parse_strict
from cvforge_edge.types import Task
from cvforge_server.errors import Code, RequestError
from cvforge_server.image_header import read_header
from cvforge_server.images import Limits, Upload
from cvforge_server.options import OPTION_NAMES, RequestOptions, read_options

JSON_TYPE = "application/json"
JSON_KEYS = ("images", "options")
FORMS = (
    "accepted forms: the bytes of one image as the body; multipart/form-data with one or more images; or JSON "
    '{"images": [{"name": "a.jpg", "data": "<base64>"}], "options": {"score_threshold": 0.5}}'
)


@dataclass(frozen=True)
class Part:
    """One piece of a request: the body, a field of a form, or a parameter of the address.

    Attributes:
        name: of the field or parameter; of the body whatever the server calls it.
        data: as it came.
        content_type: as the client gave it; empty where it gave none.
    """

    name: str
    data: bytes
    content_type: str = ""


@dataclass(frozen=True)
class ImageRequest:
    """Images of one request and how they are to be answered.

    Attributes:
        uploads: in the client's order, at least one.
        options: for all of them.
    """

    uploads: tuple[Upload, ...]
    options: RequestOptions


def read_request(parts: Sequence[Part], *, limits: Limits, task: Task, labels: Sequence[str]) -> ImageRequest:
    """Tell images from options.

    A part in JSON is the whole of what is asked. Otherwise a part is an option when it has an option's name, or neither a
    content type nor the beginning of an image; all others are images.

    Args:
        parts: in the client's order.
        limits: how many images are accepted.
        task: of the model.
        labels: of the model.

    Raises:
        RequestError: nothing was sent, JSON that says something else, too many images, or a wrong option.
    """
    options: dict[str, Any] = {}
    uploads: list[Upload] = []
    for part in parts:
        if _media_type(part) == JSON_TYPE:
            found, asked = _read_json(part.data)
            uploads += found
            options |= asked
        elif _is_option(part):
            options[part.name] = _text(part)
        else:
            uploads.append(Upload(part.name, part.data))
    if not uploads:
        raise RequestError(Code.EMPTY, f"the request has no image; {FORMS}")
    if len(uploads) > limits.images:
        raise RequestError(
            Code.TOO_MANY_IMAGES,
            f"the request has {len(uploads)} images, accepted {limits.images}; send several requests",
        )
    return ImageRequest(tuple(uploads), read_options(options, task=task, labels=labels))


def _is_option(part: Part) -> bool:
    if part.name in OPTION_NAMES:
        return True
    return not part.content_type and bool(part.data) and read_header(part.data) is None and len(part.data) < 1000


def _media_type(part: Part) -> str:
    return part.content_type.partition(";")[0].strip().lower()


def _text(part: Part) -> str:
    try:
        return part.data.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError(
            Code.BAD_OPTION, f"{part.name}: found {len(part.data)} bytes that are no UTF-8 text"
        ) from None


def _read_json(data: bytes) -> tuple[list[Upload], Mapping[str, Any]]:
    try:
        value = parse_strict(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise RequestError(Code.MALFORMED, f"JSON: found bytes that are no UTF-8 text; {FORMS}") from None
    except ValueError as error:
        raise RequestError(Code.MALFORMED, f"JSON: {error}; {FORMS}") from None
    if not isinstance(value, dict) or not isinstance(value.get("images"), list) or set(value) - set(JSON_KEYS):
        raise RequestError(Code.MALFORMED, f"JSON: found {_kind(value)}; {FORMS}")
    options = value.get("options", {})
    if not isinstance(options, dict):
        raise RequestError(Code.MALFORMED, f"JSON: options: found {_kind(options)}, accepted an object")
    return [_upload(entry, number) for number, entry in enumerate(value["images"])], options


def _upload(entry: Any, number: int) -> Upload:
    """An image of JSON: an object with `data` and perhaps `name`, or the base64 text alone."""
    entry = {"data": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), str) or set(entry) - {"name", "data"}:
        raise RequestError(
            Code.MALFORMED,
            f'JSON: images[{number}]: found {_kind(entry)}, accepted {{"name": "a.jpg", "data": "<base64>"}}',
        )
    name = entry.get("name", str(number))
    if not isinstance(name, str):
        raise RequestError(Code.MALFORMED, f"JSON: images[{number}].name: found {_kind(name)}, accepted text")
    try:
        return Upload(name, base64.b64decode(entry["data"], validate=True))
    except (binascii.Error, ValueError):
        return Upload(
            name, RequestError(Code.MALFORMED, "data: is not base64 (RFC 4648, with padding, without line breaks)")
        )


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        keys = ", ".join(map(repr, list(value)[:5]))
        return f"an object with {keys}" if keys else "an empty object"
    return {list: "a list", str: "text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
