"""Images sorted into one folder per class, as ImageNet is: `root/split/class/image.jpg`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvforge.data.files import IMAGE_SUFFIXES, check_labels, data_root, folder_names, list_names
from cvforge.data.fingerprint import FingerprintEntry, fingerprint_entries, truth_digest
from cvforge.data.problems import Notes, Problems
from cvforge.data.types import Sample
from cvforge_edge.image_io import read_image
from cvforge_edge.types import ClassLabel, Task

ADVICE = "Put the images into root/split/class/; data/README.md#imagenet and #clothing show the layout."


class ClassFolders:
    """Images whose class is the folder they lie in.

    Args:
        root: folder of the data set.
        split: folder of the split, relative to the root; it holds one folder per class.
        labels: names of the class folders in the order of their ids; None: all folders there, sorted by name. A label
            without a folder has no images in this split; a folder that is no label is an error.

    Attributes:
        notes: counts files that are no images.

    Raises:
        DataError: anything is missing or inconsistent; the message lists all problems.
    """

    task = Task.CLASSIFICATION

    def __init__(self, root: str | Path | None, split: str, *, labels: Sequence[str] | None = None) -> None:
        self.root = data_root(root, kind="a data set of class folders", anchor="imagenet")
        self.split = split.strip("/")
        folder = self.root / self.split
        problems = Problems(f"class folders {folder}", advice=ADVICE)
        repairs = Notes()
        if not folder.is_dir():
            problems.add(f"{folder}: no such folder; folders there: {', '.join(folder_names(self.root)) or 'none'}")
            problems.raise_any()
        present = folder_names(folder)
        if labels is None and not present:
            problems.add(f"{folder}: holds no class folders; expected one folder of images per class")
            problems.raise_any()
        self.labels = check_labels(present if labels is None else labels, problems)
        for name in present:
            if name not in self.labels:
                problems.add(f"{folder / name}: found class folder {name!r}, accepted {', '.join(self.labels)}")
        self._items: list[tuple[str, int]] = []
        for class_id, label in enumerate(self.labels):
            names = _images_of(folder / label, repairs) if label in present else []
            if label in present and not names:
                problems.add(f"{folder / label}: holds no image; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
            self._items += [(f"{self.split}/{label}/{name}", class_id) for name in names]
        if not self._items and not problems.found:
            problems.add(f"{folder}: none of the labels has an image")
        problems.raise_any()
        self.notes = repairs.counts
        repairs.warn(f"class folders {folder}")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        """One decoded image with its class; raises ImageError naming the file."""
        name, class_id = self._items[index]
        return Sample(read_image(self.root / name), ClassLabel(class_id), name)

    def image_id(self, index: int) -> str:
        """Path of the image relative to the root."""
        return self._items[index][0]

    def truth(self, index: int) -> ClassLabel:
        """The class of one image, without decoding it."""
        return ClassLabel(self._items[index][1])

    def fingerprint(self) -> str:
        """See `fingerprint_entries`."""
        return fingerprint_entries(
            self.labels,
            (
                FingerprintEntry(name, (self.root / name,), truth_digest(ClassLabel(class_id)))
                for name, class_id in self._items
            ),
        )


def _images_of(folder: Path, notes: Notes) -> list[str]:
    names = []
    for name in sorted(list_names(folder)):
        if name.lower().endswith(IMAGE_SUFFIXES):
            names.append(name)
        else:
            notes.add("files that are no images ignored", place=f"{folder.name}/{name}")
    return names
