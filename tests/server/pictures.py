"""Encoded pictures of every kind that a client may send, made by Pillow and OpenCV."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 37, 53


def photo(height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """A smooth picture whose sides differ, so that they cannot be mixed up."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """The picture as a file of that format."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def png_of(image_bgr: np.ndarray) -> bytes:
    """An array as a PNG."""
    ok, data = cv2.imencode(".png", image_bgr)
    assert ok
    return data.tobytes()


def jpeg_of(image_bgr: np.ndarray) -> bytes:
    """An array as a JPEG."""
    ok, data = cv2.imencode(".jpg", image_bgr)
    assert ok
    return data.tobytes()


def pictures_in_light(number: int, *, light: float = 1.0, size_hw: tuple[int, int] = (400, 500)) -> list[np.ndarray]:
    """Noise of mixed light with a red square, larger than drift measures it."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(number):
        image = np.clip(rng.normal(130 * light, 30 * light) + rng.normal(0, 9, (*size_hw, 3)), 0, 255).astype(np.uint8)
        image[:200, :200] = (0, 0, rng.integers(225, 256))
        found.append(image)
    return found


def with_segments(jpeg: bytes, segments: Sequence[tuple[int, bytes]]) -> bytes:
    """A JPEG with more marker segments right after its start, each a code and what it holds."""
    more = b"".join(b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body for code, body in segments)
    return jpeg[:2] + more + jpeg[2:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with a right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(width: int, height: int) -> bytes:
    """A valid beginning of a PNG that promises that many grey pixels, in some hundred bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def exif_with_thumbnail(orientation: int = 1) -> bytes:
    """EXIF with a whole little JPEG inside, as cameras write it."""
    thumbnail = saved(photo(11, 13), "JPEG")
    tags = (
        struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
        + struct.pack(">IH", 26, 2)
        + struct.pack(">HHII", 0x0201, 4, 1, 56)
        + struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail))
        + struct.pack(">I", 0)
    )
    return b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08" + tags + thumbnail


def every_kind() -> dict[str, bytes]:
    """One file of each kind by name."""
    colour = photo()
    grey, alpha = colour.convert("L"), colour.convert("RGBA")
    plain = saved(colour, "JPEG")
    kinds = {
        "jpeg": plain,
        "jpeg-progressive": saved(colour, "JPEG", progressive=True),
        "jpeg-grey": saved(grey, "JPEG"),
        "jpeg-cmyk": saved(colour.convert("CMYK"), "JPEG"),
        "jpeg-444": saved(colour, "JPEG", subsampling=0),
        "jpeg-restarts": saved(colour, "JPEG", restart_marker_rows=1),
        "jpeg-thumbnail": with_segments(plain, [(0xE1, exif_with_thumbnail())]),
        "jpeg-comments": with_segments(plain, [(0xFE, b"x" * 65_533), (0xEF, b"\xff\xc0" * 30_000), (0xFE, b"")]),
        "jpeg-filled": plain[:2] + b"\xff" * 7 + plain[2:],
        "webp-lossy": saved(colour, "WEBP", quality=80),
        "webp-lossless": saved(colour, "WEBP", lossless=True),
        "webp-alpha": saved(_transparent(alpha), "WEBP"),
        "webp-lossless-alpha": saved(_transparent(alpha), "WEBP", lossless=True),
        "webp-exif": saved(colour, "WEBP", exif=exif_with_thumbnail()),
        "webp-animated": saved(colour, "WEBP", save_all=True, append_images=[photo().rotate(180)], duration=100),
        "png-interlaced": _interlaced_png(),
        "png-animated": saved(colour, "PNG", save_all=True, append_images=[photo().rotate(180)]),
    }
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        picture = Image.new("I;16", (WIDTH, HEIGHT), 700) if mode == "I;16" else colour.convert(mode)
        kinds[f"png-{mode}"] = saved(picture, "PNG")
    return kinds


def _transparent(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _interlaced_png() -> bytes:
    """Black and grey, in the seven passes of Adam7. Source: PNG specification, 8.2."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, step_x, step_y in passes:
        count = len(range(left, WIDTH, step_x))
        rows += b"".join(b"\x00" + bytes([90]) * count for _ in range(top, HEIGHT, step_y))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
