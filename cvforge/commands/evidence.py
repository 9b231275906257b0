"""Writes a device's hard frames as a data set, with the model's own answers as the labels to correct."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvforge.errors import DataError, RunExistsError, StorageError
from cvforge_edge.draft_folder import draft_path, remove, remove_abandoned_drafts
from cvforge_edge.evidence.folder import FRAMES
from cvforge_edge.evidence.record import CLASSES_SUFFIX, RECORD_SCHEMA_VERSION
from cvforge_edge.strict_json import parse_strict
from cvforge_edge.types import Task

IMAGES, MASKS, ANNOTATIONS = "images", "masks", "annotations.json"


@dataclass(frozen=True)
class Written:
    """What became of the frames.

    Attributes:
        lines: for the user.
    """

    lines: tuple[str, ...]


def write_dataset(evidence: Path, output: Path, *, kinds: Sequence[str] | None = None) -> Written:
    """Write the data set into a new folder, whole or not at all.

    Args:
        evidence: folder that a device filled.
        output: the new folder.
        kinds: only frames kept for one of these reasons; None takes all.

    Raises:
        RunExistsError: the folder is there already.
        DataError: no frame can be used, or a record is damaged.
        StorageError: the folder cannot be written.
    """
    if output.exists():
        raise RunExistsError(f"{output}: is there already; name a new folder with --output")
    records = _records(evidence, kinds)
    newest = max(records, key=lambda record: record["stored_unix_s"])
    alike = [record for record in records if _meaning(record) == _meaning(newest)]
    shown = [record for record in alike if record["picture"]["file"] is not None]
    if not shown:
        raise DataError(
            f"{evidence}: {len(records)} frames, none with a picture; run the camera with pictures to label"
        )
    task = Task(newest["model"]["task"])
    draft = draft_path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned_drafts(output)
        draft.mkdir()
        WRITERS[task](evidence / FRAMES, shown, draft)
        draft.rename(output)
    except OSError as error:
        raise StorageError(f"{output}: cannot be written ({error}); free space or choose another place") from None
    finally:
        remove(draft)
    return Written(tuple(_lines(output, records, alike, shown, task)))


def _records(evidence: Path, kinds: Sequence[str] | None) -> list[dict[str, Any]]:
    paths = sorted((evidence / FRAMES).glob("*.json"))
    if not paths:
        raise DataError(f"{evidence}: holds no hard frames; give the folder that run_camera.py --evidence filled")
    records = []
    for path in paths:
        try:
            record = parse_strict(path.read_text(encoding="utf-8"))
            version, found = record["schema_version"], [reason["kind"] for reason in record["reasons"]]
            _meaning(record), record["picture"]["file"], record["stored_unix_s"], record["source"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: no record of a hard frame ({error!r}); remove it or copy it again") from None
        if version != RECORD_SCHEMA_VERSION:
            raise DataError(f"{path}: schema_version {version}, accepted {RECORD_SCHEMA_VERSION}; update CVForge")
        if kinds is None or set(kinds) & set(found):
            records.append({**record, "name": path.stem})
    if not records:
        raise DataError(f"{evidence}: none of {len(paths)} frames was kept for {' or '.join(kinds or ())}")
    return records


def _meaning(record: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What the answers of its model mean: frames of one meaning go into one data set."""
    return record["model"]["task"], tuple(record["model"]["labels"])


def _write_coco(frames: Path, records: Sequence[dict[str, Any]], output: Path) -> None:
    (output / IMAGES).mkdir()
    images, annotations = [], []
    for image_id, record in enumerate(records, start=1):
        _copy(frames, record, output / IMAGES)
        images.append(
            {
                "id": image_id,
                "file_name": record["picture"]["file"],
                "width": record["width"],
                "height": record["height"],
                "source": record["source"],
                "reasons": [reason["text"] for reason in record["reasons"]],
            }
        )
        for row in record["detections"]:
            x1, y1, x2, y2 = row["box_xyxy"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": row["class_id"] + 1,
                    "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": 0,
                    "score": row["score"],
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(records[0]["model"]["labels"])]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (output / ANNOTATIONS).write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def _write_class_folders(frames: Path, records: Sequence[dict[str, Any]], output: Path) -> None:
    for record in records:
        label = record["classes"][0]["label"].replace("/", "-")
        (output / label).mkdir(exist_ok=True)
        _copy(frames, record, output / label)


def _write_masks(frames: Path, records: Sequence[dict[str, Any]], output: Path) -> None:
    for name in (IMAGES, MASKS):
        (output / name).mkdir()
    for record in records:
        _copy(frames, record, output / IMAGES)
        mask = Path(record["picture"]["file"]).stem + ".png"
        _copy_file(frames / (record["name"] + CLASSES_SUFFIX), output / MASKS / mask)


def _copy(frames: Path, record: dict[str, Any], folder: Path) -> None:
    name = Path(record["picture"]["file"]).name  # a record may not name a file elsewhere
    _copy_file(frames / name, folder / name)


def _copy_file(path: Path, target: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: missing beside its record; copy the folder again, or remove the record")
    shutil.copyfile(path, target)


def _lines(
    output: Path,
    records: Sequence[dict[str, Any]],
    alike: Sequence[dict[str, Any]],
    shown: Sequence[dict[str, Any]],
    task: Task,
) -> list[str]:
    counts = Counter(record["reasons"][0]["kind"] for record in shown)
    lines = [f"{output}: {len(shown)} frames for {task.value}, labels as the model gave them"]
    lines += [f"  {kind}: {count}" for kind, count in counts.most_common()]
    if len(alike) > len(shown):
        lines.append(f"  left out, without a picture: {len(alike) - len(shown)}")
    if len(records) > len(alike):
        lines.append(f"  left out, of models with other labels: {len(records) - len(alike)}")
    return lines


WRITERS: dict[Task, Callable[[Path, Sequence[dict[str, Any]], Path], None]] = {
    Task.DETECTION: _write_coco,
    Task.CLASSIFICATION: _write_class_folders,
    Task.SEGMENTATION: _write_masks,
}
