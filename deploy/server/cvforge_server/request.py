"""What a client sent, in whichever form: a bare image, a form with several, or JSON; read into images and options."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import parse_strict
from cvforge_edge.types import Task
from cvforge_server.errors import Code, RequestError
from cvforge_server.images import Limits, Upload
from cvforge_server.options import OPTION_NAMES, RequestOptions, read_options, shown

JSON_TYPE = "application/json"
JSON_KEYS = ("images", "options")
BODY_NAMES = ("body", "data")
"""What servers call the body of a request."""
IMAGE_PREFIX = "image"
LONGEST_OPTION = 1000
"""Bytes of a text that is taken for an option with a wrong name; longer ones are taken for images."""
FORMS = (
    "accepted forms: the bytes of one image as the body; multipart/form-data with one or more images, each under a name of "
    "its own; or JSON "
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

    A part whose content type is JSON holds both. A part with an option's name is an option. Any other part is an image if
    it has a content type, as a file of a form has, or if it is called `body`, `data` or `image...`. What is left came without
    a content type, as a parameter of the address or through gRPC: short text is an option with a wrong name, all else an image.

    Args:
        parts: in the client's order.
        limits: how many images are accepted.
        task: of the model.
        labels: of the model.

    Raises:
        RequestError: nothing was sent, JSON that says something else, too many images, or an option that is wrong or given
            twice.
    """
    options: dict[str, Any] = {}
    uploads: list[Upload] = []
    for part in parts:
        if _media_type(part) == JSON_TYPE:
            entries, asked = _read_json(part.data)
            _check_count(len(uploads) + len(entries), limits)  # before millions of them are decoded
            uploads += [_upload(entry, number) for number, entry in enumerate(entries)]
            _add(options, asked)
        elif _is_option(part):
            _add(options, {part.name: _text(part)})
        else:
            uploads.append(Upload(part.name, part.data))
    read = read_options(options, task=task, labels=labels)
    if not uploads:
        raise RequestError(Code.EMPTY, f"the request has no image; {FORMS}")
    _check_count(len(uploads), limits)
    return ImageRequest(tuple(uploads), read)


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.images:
        raise RequestError(
            Code.TOO_MANY_IMAGES, f"the request has {count} images, accepted {limits.images}; send several requests"
        )


def _add(options: dict[str, Any], more: Mapping[str, Any]) -> None:
    twice = [name for name in more if name in options]
    if twice:
        raise RequestError(Code.BAD_OPTION, f"{', '.join(map(shown, twice))}: given twice; give it once")
    options.update(more)


def _is_option(part: Part) -> bool:
    if part.name in OPTION_NAMES:
        return True
    if part.content_type or part.name in BODY_NAMES or part.name.startswith(IMAGE_PREFIX):
        return False
    return len(part.data) <= LONGEST_OPTION and _is_text(part.data)


def _is_text(data: bytes) -> bool:
    try:
        return data.decode("utf-8").strip().isprintable()
    except UnicodeDecodeError:
        return False


def _media_type(part: Part) -> str:
    return part.content_type.partition(";")[0].strip().lower()


def _text(part: Part) -> str:
    try:
        return part.data.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError(
            Code.BAD_OPTION, f"{part.name}: found {len(part.data)} bytes that are no UTF-8 text"
        ) from None


def _read_json(data: bytes) -> tuple[list[Any], Mapping[str, Any]]:
    """Entries of `images` as they stand there, and options."""
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
    return value["images"], options


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
    except ValueError:
        return Upload(
            name, RequestError(Code.MALFORMED, "data: is not base64 (RFC 4648, with padding, without line breaks)")
        )


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        keys = ", ".join(map(repr, list(value)[:5]))
        return f"an object with {keys}" if keys else "an empty object"
    return {list: "a list", str: "text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
