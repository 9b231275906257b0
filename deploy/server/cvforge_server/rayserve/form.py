"""Forms (multipart/form-data, RFC 7578) as parts of a request, byte by byte as the client sent them."""

from __future__ import annotations

from typing import Any

from cvforge_server.errors import Code, RequestError
from cvforge_server.request import FORMS, Part

FORM_TYPE = "multipart/form-data"
FILE_TYPE = "application/octet-stream"
"""Of a file without a content type; what is no file has none."""


def read_form(body: bytes, content_type: str, *, most_parts: int) -> list[Part]:
    """The parts of a form, in the client's order.

    Args:
        body: of the request.
        content_type: of the request, with its boundary.
        most_parts: so many are accepted; a small body can hold a million.

    Raises:
        RequestError: it is no form, is not complete, a part has no name, or there are too many.
    """
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestError(Code.MALFORMED, f"form: its Content-Type has no boundary; {FORMS}")
    reader = _FormReader(most_parts)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(Code.MALFORMED, f"form: {error}; {FORMS}") from None
    if not reader.complete:
        raise RequestError(Code.MALFORMED, f"form: it ends before its last boundary; {FORMS}")
    return reader.parts


class _FormReader:
    """What the parser of `python_multipart` calls while it walks through a form."""

    def __init__(self, most_parts: int) -> None:
        self._most_parts = most_parts
        self._headers: dict[str, str] = {}
        self._name, self._value, self._data = bytearray(), bytearray(), bytearray()
        self.parts: list[Part] = []
        self.complete = False

    def callbacks(self) -> Any:
        """By the names that the parser knows them by."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._keep_header,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.parts) == self._most_parts:
            raise RequestError(Code.TOO_MANY_IMAGES, f"form: it has more than {self._most_parts} parts; send several")
        self._headers, self._data = {}, bytearray()

    def _keep_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, given = parse_options_header(self._headers.get("content-disposition", ""))
        name = given.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise RequestError(Code.MALFORMED, f"form: part {len(self.parts)} has no name; {FORMS}")
        content_type = self._headers.get("content-type", FILE_TYPE if b"filename" in given else "")
        self.parts.append(Part(name, bytes(self._data), content_type))

    def _finish(self) -> None:
        self.complete = True
