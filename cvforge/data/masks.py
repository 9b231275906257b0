"""Images with one index mask each: a PNG whose pixel values are class ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cvforge.data.files import check_labels, data_root, image_files, read_split_list
from cvforge.data.fingerprint import FingerprintEntry, fingerprint_entries
from cvforge.data.problems import Problems
from cvforge.data.types import Sample
from cvforge.errors import DataError
from cvforge_edge.image_io import read_image
from cvforge_edge.types import VOID_CLASS_ID, SegmentationMap, Task

ADVICE = "Every image needs a mask of the same name; data/README.md#camvid and #voc show the layout."
INDEX_MODES = ("P", "L", "1", "I;16", "I")
MAX_CLASSES = VOID_CLASS_ID
HEADER_CHECK_PAIRS = 10_000
"""Up to so many pairs the sizes of images and masks are compared at the start, from the headers of the files."""
EXIF_ORIENTATION, EXIF_TURNED = 0x0112, (5, 6, 7, 8)


class IndexMasks:
    """Images and masks that are paired by their file name without suffix.

    Masks are palette PNGs (Pascal VOC) or grey PNGs (CamVid); the stored index counts, not its colour.

    Args:
        root: folder of the data set.
        images: folder of the images, relative to the root.
        masks: folder of the masks, relative to the root.
        labels: names of the classes, in the order of their ids.
        void_id: value of pixels that belong to no class; they become 255.
        split: file that names the images to use, one a line, relative to the root; None: all images of the folder.

    Raises:
        DataError: anything is missing or inconsistent; the message lists all problems.
    """

    task = Task.SEGMENTATION

    def __init__(
        self,
        root: str | Path | None,
        images: str,
        *,
        masks: str,
        labels: Sequence[str],
        void_id: int = VOID_CLASS_ID,
        split: str | None = None,
    ) -> None:
        self.root = data_root(root, kind="a segmentation data set", anchor="camvid")
        self.images_folder, self.masks_folder = images.strip("/"), masks.strip("/")
        self.void_id = void_id
        problems = Problems(f"index masks {self.root / self.images_folder}", advice=ADVICE)
        self.labels = check_labels(labels, problems)
        if len(self.labels) > MAX_CLASSES:
            problems.add(f"labels: found {len(self.labels)}, accepted at most {MAX_CLASSES}")
        if not 0 <= void_id <= 65535 or void_id < len(self.labels):
            problems.add(f"void_id: found {void_id}, expected a value that is no class: {len(self.labels)} or more")
        image_names = image_files(self.root / self.images_folder)
        mask_names = image_files(self.root / self.masks_folder)
        stems = self._stems(split, image_names, mask_names, problems=problems)
        self._pairs = [(image_names[stem], mask_names[stem]) for stem in stems]
        if len(self._pairs) <= HEADER_CHECK_PAIRS:
            self._check_sizes(problems)
        problems.raise_any()
        self.notes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        """One decoded image with its class map; raises ImageError or DataError naming the file."""
        image_path, mask_path = self._paths(index)
        image_bgr = read_image(image_path)
        truth = self.truth(index)
        if truth.class_map.shape != image_bgr.shape[:2]:
            raise DataError(
                f"{mask_path}: the mask is {_size(truth.class_map)} pixels (width x height), its image "
                f"{image_path.name} is {_size(image_bgr)}; make the mask again at the size of the image"
            )
        return Sample(image_bgr, truth, self.image_id(index))

    def image_id(self, index: int) -> str:
        """Path of the image relative to the root."""
        return f"{self.images_folder}/{self._pairs[index][0]}"

    def truth(self, index: int) -> SegmentationMap:
        """The class map of one image, (h, w) uint8, void as 255; reads the mask, not the image.

        Raises:
            DataError: the mask is damaged, has several channels, or holds a value that is no class.
        """
        mask_path = self._paths(index)[1]
        values = read_index_mask(mask_path)
        void = values == self.void_id
        wrong = np.unique(values[(values >= len(self.labels)) & ~void])
        if len(wrong):
            raise DataError(
                f"{mask_path}: found value {', '.join(str(int(value)) for value in wrong[:8])}, accepted "
                f"0..{len(self.labels) - 1} for the {len(self.labels)} labels and {self.void_id} for void; "
                "correct the mask, the labels or void_id"
            )
        class_map = values.astype(np.uint8)
        class_map[void] = VOID_CLASS_ID
        return SegmentationMap(class_map)

    def fingerprint(self) -> str:
        """See `fingerprint_entries`; the masks are hashed as files."""
        truth = f"void {self.void_id}".encode()
        return fingerprint_entries(
            self.labels,
            (FingerprintEntry(self.image_id(i), self._paths(i), truth) for i in range(len(self))),
        )

    def _paths(self, index: int) -> tuple[Path, Path]:
        image, mask = self._pairs[index]
        return self.root / self.images_folder / image, self.root / self.masks_folder / mask

    def _check_sizes(self, problems: Problems) -> None:
        """Report masks of another size than their image; damaged files are reported when they are read."""
        for index in range(len(self._pairs)):
            image_path, mask_path = self._paths(index)
            image_size, mask_size = _header_size(image_path), _header_size(mask_path)
            if image_size and mask_size and image_size != mask_size:
                problems.add(
                    f"{mask_path}: the mask is {mask_size[0]}x{mask_size[1]} pixels (width x height), its image "
                    f"{image_path.name} is {image_size[0]}x{image_size[1]}; expected the same size"
                )

    def _stems(
        self, split: str | None, image_names: dict[str, str], mask_names: dict[str, str], *, problems: Problems
    ) -> list[str]:
        """The names, without suffix, of the pairs to use; reports images without mask and masks without image."""
        if split is None:
            wanted = sorted({*image_names, *mask_names})
            if not wanted:
                problems.add(f"{self.root / self.images_folder}: holds no image")
        else:
            wanted = read_split_list(self.root / split, problems)
        for stem in wanted:
            if stem not in mask_names:
                problems.add(
                    f"{self.images_folder}/{image_names.get(stem, stem)}: no mask {stem}.* in {self.masks_folder}"
                )
            if stem not in image_names:
                problems.add(
                    f"{self.masks_folder}/{mask_names.get(stem, stem)}: no image {stem}.* in {self.images_folder}"
                )
        return [stem for stem in wanted if stem in image_names and stem in mask_names]


def read_index_mask(path: Path) -> npt.NDArray[np.int32]:
    """The stored indices of a mask file, (h, w) int32; colours of a palette are ignored.

    Raises:
        DataError: the file is damaged or has colour channels.
    """
    try:
        with Image.open(path) as mask:
            if mask.mode not in INDEX_MODES:
                raise DataError(
                    f"{path}: found a mask with channels {mask.mode}, expected one channel of class ids (grey or "
                    "palette PNG); convert the colours to class ids first"
                )
            return np.asarray(mask).astype(np.int32)
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read as a mask ({error}); fetch or write it again") from error


def _header_size(path: Path) -> tuple[int, int] | None:
    """Width and height that the header of an image file states, after its EXIF rotation; None where it has none."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(EXIF_ORIENTATION) in EXIF_TURNED
            return (image.height, image.width) if turned else image.size
    except (OSError, SyntaxError):
        return None


def _size(array: npt.NDArray[np.uint8]) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
