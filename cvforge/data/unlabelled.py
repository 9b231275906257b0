"""Images without truth: enough to compare two runtimes on, not to score one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cvforge.data.files import IMAGE_SUFFIXES, image_files
from cvforge.data.fingerprint import FingerprintEntry, fingerprint_entries
from cvforge.errors import DataError
from cvforge_edge.image_io import read_image


@dataclass(frozen=True, eq=False)
class UnlabelledSample:
    """One image as it lies on disk.

    Attributes:
        image_bgr: (h, w, 3) uint8, EXIF orientation applied.
        truth: nobody knows it.
        image_id: its file name.
    """

    image_bgr: npt.NDArray[np.uint8]
    truth: None
    image_id: str


class UnlabelledImages:
    """The images that lie directly in a folder, by name.

    Args:
        root: the folder.

    Raises:
        DataError: there is no such folder, or no image in it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = list(image_files(root).values())
        if not self._names:
            found = "which is no folder" if not root.is_dir() else "which holds no image"
            raise DataError(
                f"--images {root}: {found}; give a folder with real images of what the model is for "
                f"({', '.join(IMAGE_SUFFIXES)})"
            )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> UnlabelledSample:
        """One decoded image; raises ImageError naming the file."""
        return UnlabelledSample(read_image(self._root / self._names[index]), None, self._names[index])

    def truth(self, index: int) -> None:
        """Nothing: these images have none."""

    def fingerprint(self) -> str:
        """See `fingerprint_entries`."""
        return fingerprint_entries((), (FingerprintEntry(name, (self._root / name,), b"") for name in self._names))
