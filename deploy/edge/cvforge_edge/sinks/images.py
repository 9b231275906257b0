"""The annotated pictures as one PNG or JPEG file each, in a folder."""

from __future__ import annotations

from pathlib import Path

from cvforge_edge.errors import StorageError
from cvforge_edge.frame import Result
from cvforge_edge.image_io import WRITABLE_SUFFIXES, write_image
from cvforge_edge.sources.names import IMAGE_SUFFIXES


class ImageFolder:
    """Writes each annotated picture under the name of its image, or its clip and frame number."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if needed; pictures of the same name in it are replaced.

        Raises:
            StorageError: the folder cannot be created.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be created ({error.strerror}); save to another folder") from error
        self._folder = folder
        self._count = 0

    def write(self, result: Result) -> None:
        """Store one picture.

        Raises:
            StorageError: it cannot be stored, for instance because the disk is full.
        """
        write_image(self._folder / picture_name(result), result.annotated_bgr)
        self._count += 1

    def close(self) -> None:
        """Nothing is open between two pictures."""

    def summary(self) -> str:
        """Where the pictures are, and how many."""
        return f"{self._folder}: {self._count} pictures"


def picture_name(result: Result) -> str:
    """`a.jpg` for an image of that name, `clip_000017.jpg` for frame 17 of a clip, `camera_000017.jpg` for others."""
    source = Path(result.frame.source)
    if result.frame.unix_time_s is not None:
        return f"camera_{result.frame.index:06d}.jpg"
    if source.suffix.lower() in WRITABLE_SUFFIXES:
        return source.name
    if source.suffix.lower() in IMAGE_SUFFIXES:
        return f"{source.name}.png"
    return f"{source.stem}_{result.frame.index:06d}.jpg"
