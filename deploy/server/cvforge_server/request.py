"""What a client sent, in whichever form: a bare image, a form with several, JSON of ours or of the open inference protocol."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import parse_strict
from cvforge_edge.types import Task
from cvforge_server.errors import Code, RequestError
from cvforge_server.images import Limits, Upload, check_name
from cvforge_server.json_bounds import check_bounds
from cvforge_server.kserve import LENGTH_HEADER, Envelope, envelope_of, read_inputs
from cvforge_server.options import OPTION_NAMES, RequestOptions, read_options, shown

JSON_TYPE = "application/json"
JSON_KEYS = ("images", "options")
BODY_NAMES = ("body", "data")
"""What servers call the body of a request."""
IMAGE_PREFIX = "image"
LONGEST_OPTION = 1000
"""Bytes of a text that is taken for an option with a wrong name; longer ones are taken for images."""
LONGEST_NUMBER = 12
FORMS = (
    "accepted forms: the bytes of one image as the body; multipart/form-data with one or more images, each under a name of "
    "its own; or with Content-Type: application/json "
    '{"images": [{"name": "a.jpg", "data": "<base64>"}], "options": {"score_threshold": 0.5}}, or "inputs" as in the open '
    "inference protocol"
)


@dataclass(frozen=True)
class Part:
    """One piece of a request: the body, a field of a form, or a parameter of the address.

    Attributes:
        name: of the field or parameter; of the body whatever the server calls it.
        data: as it came.
        content_type: as the client gave it; empty where it gave none.
        json_length: of a body, the header `Inference-Header-Content-Length` of the open inference protocol: how many bytes at
            its beginning are JSON; empty where there was none.
    """

    name: str
    data: bytes
    content_type: str = ""
    json_length: str = ""


@dataclass(frozen=True)
class ImageRequest:
    """Images of one request and how they are to be answered.

    Attributes:
        uploads: in the client's order, at least one.
        options: for all of them.
        envelope: of a request that came by the open inference protocol, and is to be answered in its form.
    """

    uploads: tuple[Upload, ...]
    options: RequestOptions
    envelope: Envelope | None = None


def read_request(parts: Sequence[Part], *, limits: Limits, task: Task, labels: Sequence[str]) -> ImageRequest:
    """Tell images from options.

    A part whose content type is JSON, or that has a `json_length`, holds both. A part with an option's name is an option. Any
    other part is an image if it has a content type, as a file of a form has, or if it is called `body`, `data` or `image...`.
    What is left came without a content type, as a parameter of the address or through gRPC: short text is an option with a
    wrong name, all else an image.

    Args:
        parts: in the client's order.
        limits: how many images are accepted.
        task: of the model.
        labels: of the model.

    Raises:
        RequestError: nothing was sent, JSON that says something else, too many images, or an option that is wrong or given
            twice.
    """
    reading = _Reading(limits)
    try:
        for part in parts:
            reading.take(part)
        read = read_options(reading.options, task=task, labels=labels)
        if not reading.uploads:
            raise RequestError(Code.EMPTY, f"the request has no image; {FORMS}")
        limits.check_count(len(reading.uploads))
    except RequestError as problem:
        problem.envelope = reading.envelope
        raise
    return ImageRequest(tuple(reading.uploads), read, reading.envelope)


class _Reading:
    """What was found in the parts so far."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.options: dict[str, Any] = {}
        self.uploads: list[Upload] = []
        self.envelope: Envelope | None = None

    def take(self, part: Part) -> None:
        if part.json_length or _media_type(part) == JSON_TYPE:
            entries, asked = self._read_json(part)
            self._limits.check_count(len(self.uploads) + len(entries))  # before millions of them are decoded
            self.uploads += [_upload(entry, number) for number, entry in enumerate(entries)]
            _add(self.options, asked)
        elif _is_option(part):
            _add(self.options, {part.name: _text(part)})
        else:
            check_name(part.name, key="name of a field")
            self.uploads.append(Upload(part.name, part.data))

    def _read_json(self, part: Part) -> tuple[list[Any], Mapping[str, Any]]:
        """Images as they stand there, not yet decoded, and options."""
        self.envelope = Envelope() if part.json_length else self.envelope
        end = _json_end(part)
        value = _parsed(part.data[:end])
        if isinstance(value, dict) and "inputs" in value and "images" not in value:
            self.envelope = envelope_of(value)
            return read_inputs(value, part.data[end:], limits=self._limits)
        if part.json_length or not _has_images(value):
            raise RequestError(Code.MALFORMED, f"JSON: found {_kind(value)}; {FORMS}")
        options = value.get("options", {})
        if not isinstance(options, dict):
            raise RequestError(Code.MALFORMED, f"JSON: options: found {_kind(options)}, accepted an object")
        return value["images"], options


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


def _json_end(part: Part) -> int:
    """Bytes of the part that are JSON."""
    given, most = part.json_length.strip(), len(part.data)
    if not given:
        return most
    if not given.isdecimal() or len(given) > LONGEST_NUMBER or int(given) > most:
        raise RequestError(
            Code.MALFORMED, f"{LENGTH_HEADER}: found {shown(given)}, accepted a number of bytes up to {most}"
        )
    return int(given)


def _parsed(data: bytes) -> Any:
    check_bounds(data)
    try:
        return parse_strict(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise RequestError(Code.MALFORMED, f"JSON: found bytes that are no UTF-8 text; {FORMS}") from None
    except ValueError as error:
        raise RequestError(Code.MALFORMED, f"JSON: {error}; {FORMS}") from None


def _has_images(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("images"), list) and not set(value) - set(JSON_KEYS)


def _upload(entry: Any, number: int) -> Upload:
    """An image of JSON: an object with `data` and perhaps `name`, or the base64 text alone; bytes are from behind the JSON."""
    entry = {"data": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), (str, bytes)) or set(entry) - {"name", "data"}:
        raise RequestError(
            Code.MALFORMED,
            f'JSON: images[{number}]: found {_kind(entry)}, accepted {{"name": "a.jpg", "data": "<base64>"}}',
        )
    name = entry.get("name", str(number))
    if not isinstance(name, str):
        raise RequestError(Code.MALFORMED, f"JSON: images[{number}].name: found {_kind(name)}, accepted text")
    check_name(name, key=f"JSON: images[{number}].name")
    if isinstance(entry["data"], bytes):
        return Upload(name, entry["data"])
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
