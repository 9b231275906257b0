"""Boxes in Pascal VOC layout: `JPEGImages/`, `Annotations/*.xml`, `ImageSets/Main/*.txt`."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvforge.data.box_rules import Box, box_fault, settle_box
from cvforge.data.files import check_labels, data_root, image_files, read_split_list, read_stated_image, repeated
from cvforge.data.fingerprint import FingerprintEntry, fingerprint_entries, truth_digest
from cvforge.data.problems import Notes, Problems
from cvforge.data.types import Sample
from cvforge_edge.types import Detections, Task

ADVICE = "Correct the files above; data/README.md#voc shows the layout."
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Record:
    path: Path
    image_id: str
    image_hw: tuple[int, int]
    truth: Detections


class VocDetection:
    """Images with boxes from one XML file each.

    Objects marked `difficult` are kept as ordinary objects.

    Args:
        root: folder with `JPEGImages`, `Annotations` and `ImageSets/Main`.
        split: name of a file in `ImageSets/Main` without `.txt`, or several names whose images are joined.
        labels: names of the classes, in the order of their ids.
        first_pixel: coordinate of the first pixel in the XML files: 0, or 1 for the original Pascal VOC, whose boxes
            are counted from 1 and include their last pixel.

    Raises:
        DataError: anything is missing or inconsistent; the message lists all problems.
    """

    task = Task.DETECTION

    def __init__(
        self, root: str | Path | None, split: str | Sequence[str], *, labels: Sequence[str], first_pixel: int = 0
    ) -> None:
        self.root = data_root(root, kind="a Pascal VOC data set", anchor="voc")
        splits = (split,) if isinstance(split, str) else tuple(split)
        subject = f"Pascal VOC data set {self.root}, split {' + '.join(splits)}"
        problems = Problems(subject, advice=ADVICE)
        repairs = Notes()
        self.labels = check_labels(labels, problems)
        ids = [
            image_id
            for name in splits
            for image_id in read_split_list(self.root / "ImageSets" / "Main" / f"{name}.txt", problems)
        ]
        if len(splits) > 1:
            for image_id in repeated(ids):
                problems.add(f"ImageSets/Main: {image_id!r} stands more than once in {', '.join(splits)}")
        reader = _XmlReader(self.labels, problems=problems, notes=repairs, first_pixel=first_pixel)
        files = image_files(self.root / "JPEGImages")
        self._records = [record for image_id in ids if (record := self._record(image_id, files, reader))]
        problems.raise_any()
        self.notes = repairs.counts
        repairs.warn(subject)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        """One decoded image with its boxes; raises ImageError or DataError naming the file."""
        record = self._records[index]
        image_bgr = read_stated_image(record.path, stated_hw=record.image_hw)
        return Sample(image_bgr, record.truth, record.image_id)

    def image_id(self, index: int) -> str:
        """Path of the image relative to the root."""
        return self._records[index].image_id

    def truth(self, index: int) -> Detections:
        """The boxes of one image, without decoding it."""
        return self._records[index].truth

    def fingerprint(self) -> str:
        """See `fingerprint_entries`."""
        return fingerprint_entries(
            self.labels, (FingerprintEntry(r.image_id, (r.path,), truth_digest(r.truth)) for r in self._records)
        )

    def _record(self, image_id: str, files: dict[str, str], reader: _XmlReader) -> _Record | None:
        annotation = self.root / "Annotations" / f"{image_id}.xml"
        if image_id not in files:
            reader.problems.add(f"JPEGImages/{image_id}.*: the split names this image, but there is no such file")
        if not annotation.is_file():
            reader.problems.add(f"{annotation}: the split names this image, but its annotation does not exist")
            return None
        parsed = reader.read(annotation)
        if image_id not in files or parsed is None:
            return None
        image_hw, truth = parsed
        return _Record(
            self.root / "JPEGImages" / files[image_id], f"JPEGImages/{files[image_id]}", image_hw=image_hw, truth=truth
        )


class _XmlReader:
    """Reads annotation files and reports what is wrong with them."""

    def __init__(self, labels: tuple[str, ...], *, problems: Problems, notes: Notes, first_pixel: int) -> None:
        self.class_ids = {label: class_id for class_id, label in enumerate(labels)}
        self.problems = problems
        self.notes = notes
        self.first_pixel = first_pixel

    def read(self, path: Path) -> tuple[tuple[int, int], Detections] | None:
        """Size and boxes that one file states, or None after reporting why it cannot be used."""
        try:
            tree = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            self.problems.add(f"{path}: not XML ({error})")
            return None
        width, height = _number(tree, "size/width"), _number(tree, "size/height")
        if not (width >= 1 and height >= 1):
            self.problems.add(f"{path}: <size> states no width and height; expected whole numbers of pixels")
            return None
        image_hw = (int(height), int(width))
        boxes, class_ids = [], []
        for number, element in enumerate(tree.findall("object")):
            found = self._object(element, image_hw=image_hw, path=path, number=number)
            if found is not None:
                boxes.append(found[0])
                class_ids.append(found[1])
        return image_hw, _detections(boxes, class_ids)

    def _object(
        self, element: ElementTree.Element, *, image_hw: tuple[int, int], path: Path, number: int
    ) -> tuple[Box, int] | None:
        place = f"{path}, object {number}"
        name = (element.findtext("name") or "").strip()
        if name not in self.class_ids:
            self.problems.add(f"{place}: found class {name!r}, accepted {', '.join(self.class_ids)}")
            return None
        x1, y1, x2, y2 = (_number(element, f"bndbox/{corner}") for corner in CORNERS)
        box = (x1 - self.first_pixel, y1 - self.first_pixel, x2, y2)
        fault = box_fault(box)
        if fault:
            self.problems.add(f"{place}: <bndbox> {fault}")
            return None
        settled = settle_box(box, image_hw=image_hw, notes=self.notes, place=f"{path.name}, object {number}")
        return None if settled is None else (settled, self.class_ids[name])


def _number(element: ElementTree.Element, path: str) -> float:
    """The number that an element's text states, NaN where there is none."""
    try:
        return float(element.findtext(path) or "nan")
    except ValueError:
        return math.nan


def _detections(boxes: list[Box], class_ids: list[int]) -> Detections:
    return Detections(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.ones(len(boxes), np.float32),
        class_ids=np.array(class_ids, np.int64),
    )
