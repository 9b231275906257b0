"""A folder of images, or a single one: each image is a frame, in the order of the names."""

from __future__ import annotations

import re
import time
from pathlib import Path

from cvforge_edge.errors import SourceError, UsageError
from cvforge_edge.frame import Frame
from cvforge_edge.image_io import read_image
from cvforge_edge.sources.cadence import Cadence
from cvforge_edge.sources.names import IMAGE_SUFFIXES

_NUMBERS = re.compile(r"(\d+)")


class ImageFiles:
    """Images from disk, decoded one after the other when they are asked for."""

    live = False
    dropped = 0
    fps = None

    def __init__(self, path: Path, *, name: str | None = None, cadence: Cadence | None = None) -> None:
        """List the images.

        Args:
            path: an image, or a folder whose images are taken; folders inside it are not.
            name: what it is called in results, before the name of each file; None for its path.
            cadence: which images are wanted; None for all.

        Raises:
            SourceError: the folder holds no image.
            UsageError: images are wanted by time.
        """
        cadence = cadence or Cadence()
        if cadence.max_fps is not None:
            raise UsageError(f"--max-fps: images have no frame rate: {path}; use --every N")
        self.name, self.path, self._prefix = name or str(path), path, name
        self.ended = False
        self._paths = list_images(path) if path.is_dir() else [path]
        if not self._paths:
            raise SourceError(
                f"{path}: found no image in this folder; accepted endings: {', '.join(IMAGE_SUFFIXES)}. "
                "Folders inside it are not searched: name the one that holds the images"
            )
        self._every = cadence.every
        self.frame_count = cadence.frame_count(len(self._paths), None)
        self._index = 0

    def read(self, *, timeout_s: float) -> Frame | None:
        """The next image, or None after the last; a file never waits, so `timeout_s` has no effect.

        Raises:
            ImageError: the image cannot be decoded.
        """
        if self.ended or self._index >= len(self._paths):
            self.ended = True
            return None
        path = self._paths[self._index]
        source = str(path) if self._prefix is None else f"{self._prefix}/{path.name}"
        begun_s = time.monotonic()
        image_bgr = read_image(path)
        ended_s = time.monotonic()
        frame = Frame(image_bgr, self._index, float(self._index), None, source, ended_s, ended_s - begun_s)
        self._index += self._every
        return frame

    def close(self) -> None:
        """No further image is read."""
        self.ended = True

    def __enter__(self) -> ImageFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def list_images(folder: Path) -> list[Path]:
    """The images of a folder, `frame_2.jpg` before `frame_10.jpg`."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(found, key=_natural_key)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(path.name)]
