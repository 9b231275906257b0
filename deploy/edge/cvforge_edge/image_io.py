"""Image files to pixels and back, with damage reported instead of painted grey."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.errors import ImageError, StorageError

if TYPE_CHECKING:
    import numpy.typing as npt

WRITABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Inside a JPEG's compressed data FF is followed by 00 (a stuffed byte), D0-D7 (a restart mark) or FF (filling).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
MOST_JPEG_MARKERS = 100_000
"""Markers and filling bytes that are looked at in a JPEG; real ones have dozens, and 20 MB of nothing else took ten seconds."""
MOST_JPEG_SCANS = 32
"""Of a JPEG; progressive ones have about ten. One more takes 75 bytes, and of 50 megapixels 40 ms of the decoder."""
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def read_image(path: Path | str) -> npt.NDArray[np.uint8]:
    """The pixels of an image file as (h, w, 3) uint8 BGR; see `decode_image`.

    Raises:
        ImageError: the file is missing, unreadable, truncated or not an image.
    """
    try:
        data = Path(path).read_bytes()  # OpenCV's own reader cannot open every name that a file system allows
    except FileNotFoundError:
        raise ImageError(f"{path}: no such image file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None
    return decode_image(data, name=str(path))


def decode_image(data: bytes, *, name: str) -> npt.NDArray[np.uint8]:
    """The pixels of an encoded image as (h, w, 3) uint8 BGR.

    EXIF orientation is applied, grayscale is repeated to three channels, alpha is dropped (not blended), 16 bit are cut
    to the upper 8. A JPEG or PNG that ends early is refused, where OpenCV 4 returns an image that is partly grey.

    Args:
        data: content of an image file.
        name: named in error messages.

    Raises:
        ImageError: empty, truncated, damaged or not an image.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty; copy or download it again")
    if data.startswith(JPEG_START):
        _check_jpeg(data, name=name)
    if data.startswith(PNG_START):
        data = _png_without_texts(data, name=name)
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded ({_reason(error)})") from None
    if image is None:
        raise ImageError(f"{name}: damaged or not an image that OpenCV can read, for instance JPEG or PNG")
    return image  # type: ignore[no-any-return]


def write_image(path: Path | str, image_bgr: npt.NDArray[np.uint8]) -> None:
    """Write an image file, whole or not at all; the suffix chooses the format.

    Args:
        path: ends in one of `WRITABLE_SUFFIXES`; `.png` keeps every pixel.
        image_bgr: (h, w, 3) or (h, w) uint8.

    Raises:
        ImageError: the suffix is not accepted or the image cannot be encoded.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ImageError(f"{path}: found suffix {path.suffix!r}, accepted {', '.join(WRITABLE_SUFFIXES)}")
    try:
        ok, data = cv2.imencode(path.suffix.lower(), image_bgr)
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be encoded ({_reason(error)})") from None
    if not ok:
        raise ImageError(f"{path}: an image of shape {image_bgr.shape} {image_bgr.dtype} cannot be encoded")
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_bytes(data.tobytes())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another place"
        ) from None


def _check_jpeg(data: bytes, *, name: str) -> None:
    """Hold that the marker segments lead to an end marker, and that there are not too many scans.

    The segments before the first scan are skipped by their lengths: an embedded thumbnail has an end marker of its own.
    Source: ITU-T T.81, B.1.
    """
    position, scans = 2, 0
    for _ in range(MOST_JPEG_MARKERS):
        if position + 1 >= len(data) or data[position] != 0xFF:
            break
        code = data[position + 1]
        if code == 0xFF:
            position += 1
            continue
        if code == _JPEG_END:
            return
        if code in _JPEG_WITHOUT_LENGTH:
            position += 2
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if code == _JPEG_START_OF_SCAN:
            scans += 1
            if scans > MOST_JPEG_SCANS:
                raise ImageError(f"{name}: a JPEG of more than {MOST_JPEG_SCANS} scans; save it again with fewer")
            marker = _JPEG_MARKER.search(data, position)
            if marker is None:
                break
            position = marker.start()
    raise ImageError(f"{name}: truncated JPEG ({len(data)} bytes, no end marker); copy or download it again")


def _png_without_texts(data: bytes, *, name: str) -> bytes:
    """Without what is written beside the pixels: a decoder keeps it, and 8 kB of it can be 8 MB, a thousand times in a file.

    Raises:
        ImageError: the chunks do not lead to the end chunk. Source: PNG specification, 5.3; checksums are the decoder's work.
    """
    kept: list[bytes] = []
    kept_until, position = 0, len(PNG_START)
    while position + 12 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind == b"IEND":
            return b"".join([*kept, data[kept_until:]]) if kept else data
        end = position + 12 + length
        if kind in _PNG_TEXTS:
            kept.append(data[kept_until:position])
            kept_until = end
        position = end
    raise ImageError(f"{name}: truncated PNG ({len(data)} bytes, no end chunk); copy or download it again")


def _reason(error: cv2.error) -> str:
    return str(getattr(error, "err", "") or error).strip().splitlines()[0]
