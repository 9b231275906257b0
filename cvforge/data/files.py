"""Finding and reading the files of a data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cvforge.data.problems import Problems
from cvforge.errors import DataError
from cvforge_edge.image_io import read_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def data_root(root: str | Path | None, *, kind: str, anchor: str) -> Path:
    """The folder of a data set, checked.

    Args:
        root: as the config gives it.
        kind: what is expected there, for the message.
        anchor: section of `data/README.md` that says how to get it.

    Raises:
        DataError: no root is given, or it is no folder.
    """
    advice = f"give data.root=<folder>; data/README.md#{anchor} says how to get and lay out the data"
    if root is None or str(root) in ("", "???"):
        raise DataError(f"data.root: missing; expected the folder of {kind}; {advice}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"data.root: found {str(root)!r}, which is no folder; expected the folder of {kind}; {advice}")
    return folder


def image_files(folder: Path) -> dict[str, str]:
    """Image files directly in a folder: stem -> file name, sorted by name; empty when the folder does not exist."""
    names = sorted(name for name in list_names(folder) if _is_image(name))
    return {name.rpartition(".")[0]: name for name in names}


def list_names(folder: Path) -> list[str]:
    """Names of the files in a folder, hidden ones left out; empty when the folder does not exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]


def folder_names(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def read_split_list(path: Path, problems: Problems) -> list[str]:
    """The ids that a split file names, one a line (only the first word of a line counts), in the order of the file."""
    if not path.is_file():
        available = ", ".join(sorted(name for name in list_names(path.parent) if name.endswith(".txt"))) or "none"
        problems.add(f"{path}: not found; split files there: {available}")
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        problems.add(f"{path}: no UTF-8 text ({error}); save it as UTF-8")
        return []
    ids = [line.split()[0] for line in lines if line.strip()]
    if not ids:
        problems.add(f"{path}: names no image; expected one image id a line")
    for image_id in repeated(ids):
        problems.add(f"{path}: names {image_id!r} more than once; expected each image once")
    return ids


def repeated(names: Sequence[str]) -> list[str]:
    """The names that stand there more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the names (relative, with `/`) that are no files below the folder; each folder is listed once."""
    present: dict[str, set[str]] = {}
    missing = []
    for name in names:
        parent, _, file_name = name.rpartition("/")
        if parent not in present:
            present[parent] = set(list_names(folder / parent))
        if file_name not in present[parent]:
            missing.append(name)
    return missing


def read_stated_image(path: Path, *, stated_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An image whose annotation states its size: (h, w, 3) uint8 BGR.

    Boxes live in the frame that the annotation states. Where only the image as stored, without its EXIF rotation, has
    that size, that is the frame the boxes were drawn in, and the image is given unrotated.

    Raises:
        ImageError: the file is missing, truncated or no image.
        DataError: the image has another size than stated.
    """
    image_bgr = read_image(path)
    if image_bgr.shape[:2] == stated_hw:
        return image_bgr
    if image_bgr.shape[1::-1] == stated_hw:
        stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if stored is not None and stored.shape[:2] == stated_hw:
            return stored  # type: ignore[return-value]
    raise DataError(
        f"{path}: the image is {image_bgr.shape[1]}x{image_bgr.shape[0]} pixels (width x height), its annotation says "
        f"{stated_hw[1]}x{stated_hw[0]}; correct the annotation, or put back the image it was drawn on"
    )


def check_labels(labels: Sequence[str] | None, problems: Problems) -> tuple[str, ...]:
    """The labels as a tuple of texts, with what is wrong with them reported."""
    names = tuple(str(label) for label in labels or ())
    if not names:
        problems.add("labels: found none, expected at least one name")
    for name in repeated(names):
        problems.add(f"labels: {name!r} stands there more than once; expected different names")
    return names


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)
