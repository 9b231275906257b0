"""Image files in every state that real data sets hold."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.errors import ImageError, StorageError
from cvforge_edge.image_io import decode_image, read_image, write_image


def encoded(image: np.ndarray, suffix: str, *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, image, list(options))
    assert ok
    return data.tobytes()


def photo(height: int = 90, width: int = 120) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF segment that holds one tag. Source: EXIF 2.3, 4.6.2."""
    tiff = b"MM\x00\x2a\x00\x00\x00\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
    8: lambda image: np.rot90(image, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    jpeg = encoded(photo(), ".jpg")
    plain = decode_image(jpeg, name="plain.jpg")
    turned = decode_image(with_orientation(jpeg, orientation), name="turned.jpg")
    np.testing.assert_array_equal(turned, UPRIGHT[orientation](plain))


def test_grayscale_is_repeated_to_three_channels() -> None:
    gray = photo()[..., 0]
    image = decode_image(encoded(gray, ".png"), name="gray.png")
    assert image.shape == (90, 120, 3) and image.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], gray)


def test_alpha_is_dropped_and_not_blended() -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (90, 120, 1), dtype=np.uint8)
    image = decode_image(encoded(np.concatenate([photo(), alpha], axis=2), ".png"), name="rgba.png")
    np.testing.assert_array_equal(image, photo())


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_are_cut_to_the_upper_eight(channels: int) -> None:
    deep = np.random.default_rng(2).integers(0, 65536, (9, 12, channels), dtype=np.uint16)
    image = decode_image(encoded(deep, ".png"), name="deep.png")
    np.testing.assert_array_equal(image, np.broadcast_to((deep >> 8).astype(np.uint8), (9, 12, 3)))


JPEG_VARIANTS = {
    "baseline": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart marks": (cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
}


@pytest.mark.parametrize("variant", JPEG_VARIANTS)
def test_a_whole_jpeg_is_read_and_one_cut_anywhere_is_refused(variant: str) -> None:
    jpeg = encoded(photo(), ".jpg", *JPEG_VARIANTS[variant])
    assert decode_image(jpeg, name="a.jpg").shape == (90, 120, 3)
    for length in [3, 4, 20, 200, len(jpeg) // 2, len(jpeg) - 100, len(jpeg) - 2, len(jpeg) - 1]:
        with pytest.raises(ImageError, match=rf"cut\.jpg: truncated JPEG \({length} bytes"):
            decode_image(jpeg[:length], name="cut.jpg")


def test_a_thumbnail_with_its_own_end_marker_does_not_hide_a_cut() -> None:
    jpeg, thumbnail = encoded(photo(), ".jpg"), encoded(photo(9, 12), ".jpg")
    with_thumbnail = jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]
    np.testing.assert_array_equal(decode_image(with_thumbnail, name="a"), decode_image(jpeg, name="b"))
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode_image(with_thumbnail[: len(with_thumbnail) - 500], name="a")


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    jpeg = encoded(photo(), ".jpg")
    assert decode_image(jpeg + b"appended by a camera", name="a.jpg").shape == (90, 120, 3)


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(capfd: pytest.CaptureFixture[str]) -> None:
    jpeg = encoded(photo(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    start = jpeg.rindex(b"\xff\xda")
    scan, end = jpeg[start:-2], jpeg[-2:]
    np.testing.assert_array_equal(decode_image(jpeg + scan, name="after the end"), decode_image(jpeg, name="a.jpg"))
    decode_image(jpeg[:-2] + 10 * scan + end, name="more than usual")
    with pytest.raises(ImageError, match=r"bomb\.jpg: a JPEG of more than 32 scans; save it again"):
        decode_image(jpeg[:-2] + 40 * scan + end, name="bomb.jpg")
    capfd.readouterr()  # libjpeg wonders about scans that come twice


def with_chunks(png: bytes, kind: bytes, data: bytes, *, count: int = 1) -> bytes:
    """A PNG with chunks behind its header."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk * count + png[33:]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"tEXt", b"Comment\0by hand"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"by hand")),
        (b"iTXt", b"Comment\0\0\0\0\0x"),
        (b"prVt", b"of a program"),
    ],
)
def test_what_is_written_beside_the_pixels_of_a_png_does_no_harm(kind: bytes, data: bytes) -> None:
    png = encoded(photo(), ".png")
    for count in (1, 3):
        more = with_chunks(png, kind, data, count=count)
        np.testing.assert_array_equal(decode_image(more, name="a.png"), photo())
        with pytest.raises(ImageError, match="truncated PNG"):
            decode_image(more[:-12], name="cut.png")


GROWTH = """
import resource, sys
from cvforge_edge.image_io import decode_image
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
small, bomb = (open(path, "rb").read() for path in sys.argv[1:])
decode_image(small, name="small")
before = peak()
decode_image(bomb, name="bomb")
print(peak() - before)
"""
"""How much more memory a second picture takes, in bytes."""


@pytest.mark.skipif(sys.platform == "win32", reason="no peak of memory")
def test_a_small_png_does_not_become_hundreds_of_megabytes_of_text(tmp_path: Path) -> None:
    png = encoded(photo(), ".png")
    bomb = with_chunks(png, b"zTXt", b"k\0\0" + zlib.compress(bytes(7_900_000), 9), count=40)
    assert len(bomb) < 500_000
    (tmp_path / "small.png").write_bytes(png)
    (tmp_path / "bomb.png").write_bytes(bomb)
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "small.png"), str(tmp_path / "bomb.png")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 50_000_000


def test_a_png_cut_anywhere_is_refused() -> None:
    png = encoded(photo(), ".png")
    for length in [8, 12, 40, len(png) // 2, len(png) - 12, len(png) - 1]:
        with pytest.raises(ImageError, match=rf"cut\.png: truncated PNG \({length} bytes"):
            decode_image(png[:length], name="cut.png")


def test_a_png_with_a_changed_byte_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    png = bytearray(encoded(photo(), ".png"))
    png[len(png) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="damaged or not an image"):
        decode_image(bytes(png), name="flipped.png")
    capfd.readouterr()  # libpng tells the terminal too


@pytest.mark.parametrize("data", [b"hello", b"\x00" * 100, b"GIF89a", b"\xff\xd8", b"%PDF-1.7"])
def test_what_is_no_image_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"notes\.jpg: damaged or not an image"):
        decode_image(data, name="notes.jpg")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ImageError, match="a.jpg: the file is empty"):
        decode_image(b"", name="a.jpg")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such image file"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)
    assert ImageError.exit_code == 4


def test_names_outside_ascii_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "Straße 猫.png"
    write_image(path, photo())
    np.testing.assert_array_equal(read_image(path), photo())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_writing_refuses_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"found suffix '\.xyz', accepted \.png"):
        write_image(tmp_path / "a.xyz", photo())


def test_writing_refuses_what_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be encoded"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 7), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_earlier_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, photo())

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_image(path, np.zeros((4, 4, 3), np.uint8))
    monkeypatch.undo()
    np.testing.assert_array_equal(read_image(path), photo())
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_writing_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_image(tmp_path / "nowhere" / "a.png", photo())


def test_real_photographs_are_all_complete(shared_data: Path) -> None:
    files = sorted((shared_data / "detection" / "bccd").rglob("*.jpg"))[:20]
    files += sorted((shared_data / "detection" / "coco-open").rglob("*.jpg"))[:20]
    assert len(files) == 40
    for file in files:
        assert read_image(file).ndim == 3
