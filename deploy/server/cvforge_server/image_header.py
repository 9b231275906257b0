"""How large an image is, read from its first bytes: a header costs nothing, decoding what it promises can cost gigabytes."""

from __future__ import annotations

from cvforge_edge.image_io import JPEG_START, MOST_JPEG_MARKERS, PNG_START
from cvforge_edge.records import dataclass

WEBP_FORM = (b"RIFF", b"WEBP")
# Start-of-frame markers of JPEG: C0 to CF without DHT (C4), JPG (C8) and DAC (CC). Source: ITU-T T.81, table B.1.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
# No marker, start and end of image: a reader that went on behind them would see other segments than the decoder does.
_JPEG_MISPLACED = {0x00, 0xD8, 0xD9}


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file says.

    Attributes:
        format: `jpeg`, `png` or `webp`.
        width: in pixels, before a rotation that EXIF asks for.
        height: likewise.
    """

    format: str
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader | None:
    """Format and size of an encoded image; None where it is neither JPEG, PNG nor WebP, or ends inside its header.

    Args:
        data: content of an image file, or its beginning; a JPEG may have long comments before its size.
    """
    if data.startswith(JPEG_START):
        return _jpeg(data)
    if data.startswith(PNG_START):
        return _png(data)
    if data[:4] == WEBP_FORM[0] and data[8:12] == WEBP_FORM[1]:
        return _webp(data)
    return None


def _jpeg(data: bytes) -> ImageHeader | None:
    position = 2
    for _ in range(MOST_JPEG_MARKERS):
        if position + 9 > len(data) or data[position] != 0xFF or data[position + 1] in _JPEG_MISPLACED:
            return None
        code = data[position + 1]
        if code == 0xFF:
            position += 1
        elif code in _JPEG_WITHOUT_LENGTH:
            position += 2
        elif code in _JPEG_FRAMES:
            height, width = _big(data, position + 5, 2), _big(data, position + 7, 2)
            return ImageHeader("jpeg", width, height) if width and height else None
        else:
            length = _big(data, position + 2, 2)
            if length < 2:
                return None
            position += 2 + length
    return None


def _png(data: bytes) -> ImageHeader | None:
    """Source: PNG specification, 11.2.2: IHDR is the first chunk, and begins with width and height."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = _big(data, 16, 4), _big(data, 20, 4)
    return ImageHeader("png", width, height) if width and height else None


def _webp(data: bytes) -> ImageHeader | None:
    """Source: RFC 9649, 2.5 to 2.7; of an animation the canvas."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return ImageHeader("webp", 1 + _little(data, 24, 3), 1 + _little(data, 27, 3))
    if kind == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        width, height = _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        return ImageHeader("webp", width, height) if width and height else None
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = _little(data, 21, 4)
        return ImageHeader("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    return None


def _big(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "big")


def _little(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "little")
