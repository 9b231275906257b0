"""Boxes in COCO JSON (`instances_*.json`): sparse category ids, crowd regions, images without objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvforge.data.box_rules import box_fault, settle_box
from cvforge.data.coco_json import is_number, is_whole, read_coco_json
from cvforge.data.files import data_root, missing_files, read_stated_image
from cvforge.data.fingerprint import FingerprintEntry, fingerprint_entries, truth_digest
from cvforge.data.problems import Notes, Problems
from cvforge.data.types import Sample
from cvforge_edge.types import Detections, Task

ADVICE = "Correct the annotation file, or fetch the missing images; data/README.md#coco shows the layout."


@dataclass(frozen=True)
class _Image:
    coco_id: int
    file_name: str
    image_hw: tuple[int, int]


class CocoDetection:
    """Images with boxes from one COCO annotation file.

    Class ids are the positions of the categories ordered by their category id, so the 80 categories of COCO with ids 1
    to 90 become 0 to 79. Images without annotations stay, as background. Boxes of zero area or outside their image are
    dropped and boxes partly outside are clipped; `notes` counts them.

    Args:
        root: folder of the data set.
        images: folder of the images, relative to the root.
        annotations: annotation file, relative to the root.

    Attributes:
        category_ids: the category id of each label.

    Raises:
        DataError: anything is missing or inconsistent; the message lists all problems.
    """

    task = Task.DETECTION

    def __init__(self, root: str | Path | None, images: str, *, annotations: str) -> None:
        self.root = data_root(root, kind="a COCO data set", anchor="coco")
        self.images_folder = images.strip("/")
        path = self.root / annotations
        problems = Problems(f"COCO annotations {path}", advice=ADVICE)
        repairs = Notes()
        document = read_coco_json(path, problems)
        problems.raise_any()
        categories = _categories(document["categories"], problems)
        self.labels = tuple(categories.values())
        self.category_ids = tuple(categories)
        found = _images(document["images"], problems)
        names = [f"{self.images_folder}/{image.file_name}" for image in found.values()]
        for name in missing_files(self.root, names):
            problems.add(f"{self.root / name}: the annotations list this image, but there is no such file")
        rows = _Rows({image_id: image.image_hw for image_id, image in found.items()}, list(categories))
        for number, annotation in enumerate(document["annotations"]):
            rows.add(annotation, number=number, problems=problems, notes=repairs)
        problems.raise_any()
        self._images = list(found.values())
        self._truths = rows.truths()
        self.notes = repairs.counts
        repairs.warn(f"COCO annotations {path}")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """One decoded image with its boxes; raises ImageError or DataError naming the file."""
        image_bgr = read_stated_image(self._path(index), stated_hw=self._images[index].image_hw)
        return Sample(image_bgr, self._truths[index], self.image_id(index))

    def image_id(self, index: int) -> str:
        """Path of the image relative to the root."""
        return f"{self.images_folder}/{self._images[index].file_name}"

    def truth(self, index: int) -> Detections:
        """Boxes, crowd marks and areas of one image, without decoding it."""
        return self._truths[index]

    def results(self, predictions: Mapping[str, Detections]) -> list[dict[str, Any]]:
        """Detections in COCO's result format, with the image and category ids of the annotation file.

        Args:
            predictions: image id (as `image_id` gives it) -> boxes; images without an entry have no detections.
        """
        return [
            row
            for index, image in enumerate(self._images)
            if (found := predictions.get(self.image_id(index))) is not None
            for row in _result_rows(found, image_id=image.coco_id, category_ids=self.category_ids)
        ]

    def fingerprint(self) -> str:
        """See `fingerprint_entries`."""
        return fingerprint_entries(
            self.labels,
            (
                FingerprintEntry(self.image_id(i), (self._path(i),), truth_digest(self._truths[i]))
                for i in range(len(self))
            ),
        )

    def _path(self, index: int) -> Path:
        return self.root / self.image_id(index)


class _Rows:
    """The annotations of all images, gathered image by image."""

    def __init__(self, image_hw: dict[int, tuple[int, int]], category_ids: Sequence[int]) -> None:
        self.image_hw = image_hw
        self.class_ids = {category_id: class_id for class_id, category_id in enumerate(category_ids)}
        self.rows: dict[int, list[tuple[float, ...]]] = {image_id: [] for image_id in image_hw}
        self.seen: set[int] = set()

    def add(self, annotation: Any, *, number: int, problems: Problems, notes: Notes) -> None:
        """Check one annotation and keep it with its image."""
        place = f"annotations[{number}]"
        if not isinstance(annotation, dict):
            problems.add(f"{place}: found {annotation!r}, expected an object")
            return
        faults = self._faults(annotation)
        for fault in faults:
            problems.add(f"{place} (id {annotation.get('id')!r}): {fault}")
        if faults:
            return
        x, y, width, height = annotation["bbox"]
        image_id = annotation["image_id"]
        box = settle_box(
            (x, y, x + width, y + height),
            image_hw=self.image_hw[image_id],
            notes=notes,
            place=f"annotation id {annotation['id']}",
        )
        if box is not None:
            area = float(annotation.get("area", width * height))
            row = (*box, self.class_ids[annotation["category_id"]], annotation.get("iscrowd", 0), area)
            self.rows[image_id].append(row)

    def truths(self) -> list[Detections]:
        """One `Detections` per image, in the order of the images."""
        return [_detections(rows) for rows in self.rows.values()]

    def _faults(self, annotation: dict[str, Any]) -> list[str]:
        faults = []
        identifier = annotation.get("id")
        if not is_whole(identifier):
            faults.append(f"id: found {identifier!r}, expected a whole number")
        elif identifier in self.seen:
            faults.append("id: stands there more than once; expected every annotation to have its own")
        else:
            self.seen.add(identifier)
        if not is_whole(annotation.get("image_id")) or annotation["image_id"] not in self.image_hw:
            faults.append(f"image_id: found {annotation.get('image_id')!r}, which is no id of an image in this file")
        if not is_whole(annotation.get("category_id")) or annotation["category_id"] not in self.class_ids:
            faults.append(f"category_id: found {annotation.get('category_id')!r}, which is no category of this file")
        fault = _bbox_fault(annotation.get("bbox"))
        if fault:
            faults.append(f"bbox: {fault}")
        if annotation.get("iscrowd", 0) not in (0, 1):
            faults.append(f"iscrowd: found {annotation['iscrowd']!r}, accepted 0 or 1")
        area = annotation.get("area", 0.0)
        if not is_number(area) or area < 0:
            faults.append(f"area: found {area!r}, expected a finite number of pixels, 0 or more")
        return faults


def _bbox_fault(bbox: Any) -> str | None:
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(is_number(value) for value in bbox):
        return f"found {bbox!r}, expected four finite numbers [x, y, width, height]"
    x, y, width, height = bbox
    if width < 0 or height < 0:
        return f"found {bbox!r}, expected width and height of 0 or more"
    return box_fault((x, y, x + width, y + height))


def _categories(entries: list[Any], problems: Problems) -> dict[int, str]:
    """Category id -> name, ordered by id."""
    found: dict[int, str] = {}
    for number, entry in enumerate(entries):
        place = f"categories[{number}]"
        if not isinstance(entry, dict) or not is_whole(entry.get("id")) or not isinstance(entry.get("name"), str):
            problems.add(f"{place}: found {entry!r}, expected an object with a whole number `id` and a text `name`")
        elif entry["id"] in found:
            problems.add(f"{place}: id {entry['id']} stands there more than once; expected each category once")
        elif entry["name"] in found.values():
            problems.add(f"{place}: name {entry['name']!r} stands there more than once; expected different names")
        else:
            found[entry["id"]] = entry["name"]
    if not entries:
        problems.add("categories: found none, expected at least one")
    return dict(sorted(found.items()))


def _images(entries: list[Any], problems: Problems) -> dict[int, _Image]:
    """Image id -> file and size, in the order of the file."""
    found: dict[int, _Image] = {}
    for number, entry in enumerate(entries):
        place = f"images[{number}]"
        if not isinstance(entry, dict) or not is_whole(entry.get("id")) or not isinstance(entry.get("file_name"), str):
            problems.add(f"{place}: expected an object with a whole number `id` and a text `file_name`")
            continue
        height, width = entry.get("height"), entry.get("width")
        if not (is_whole(height) and is_whole(width) and height >= 1 and width >= 1):
            problems.add(f"{place}: found width {width!r} and height {height!r}, expected whole numbers of pixels")
            continue
        if entry["id"] in found:
            problems.add(f"{place}: id {entry['id']} stands there more than once; expected each image once")
            continue
        found[entry["id"]] = _Image(entry["id"], entry["file_name"], (height, width))
    if not entries:
        problems.add("images: found none, expected at least one")
    return found


def _detections(rows: list[tuple[float, ...]]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 7)
    return Detections(
        boxes_xyxy=table[:, 0:4].astype(np.float32),
        scores=np.ones(len(table), np.float32),
        class_ids=table[:, 4].astype(np.int64),
        is_crowd=table[:, 5] == 1,
        areas=table[:, 6].astype(np.float32),
    )


def _result_rows(found: Detections, *, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """One entry a box; `bbox` is x, y, width, height in pixels. Source: cocodataset.org, results format."""
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[class_id],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for (x1, y1, x2, y2), class_id, score in zip(
            found.boxes_xyxy.astype(float).tolist(), found.class_ids.tolist(), found.scores.tolist(), strict=True
        )
    ]
