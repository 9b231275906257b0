"""The columns of a part.

| column | type | |
|---|---|---|
| `path` | string | absolute; bytes that are no UTF-8 as `\\xff` |
| `status` | string | `ok`, or why there is no prediction (`Status`) |
| `error` | string | null where the status is `ok` |
| `width`, `height` | int32 | of the image, in pixels; null where it was not decoded |
| `fingerprint` | string | SHA-256 of the manifest of the bundle |

and one more, by the task of the model, null where the status is not `ok`; values are those of the lines of `tools/predict.py`:

| column | type |
|---|---|
| `detections` | list of struct `label` string, `class_id` int32, `score` double, `box_xyxy` list of 4 doubles; the surest first |
| `classes` | list of struct `label` string, `class_id` int32, `score` double; the five strongest, the strongest first |
| `pixel_shares` | list of struct `label` string, `share` double (0 to 1); classes that are absent left out |
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from cvforge_edge.types import Task

if TYPE_CHECKING:
    import pyarrow as pa

TASK_COLUMN = {Task.DETECTION: "detections", Task.CLASSIFICATION: "classes", Task.SEGMENTATION: "pixel_shares"}


class Status(str, Enum):
    """What became of an image."""

    OK = "ok"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    DAMAGED_IMAGE = "damaged_image"
    INFERENCE_FAILED = "inference_failed"
    WORKER_DIED = "worker_died"


def part_schema(task: Task) -> pa.Schema:
    """The Arrow schema of every part of a model for this task."""
    import pyarrow as pa

    text, pixels = pa.string(), pa.int32()
    columns = [
        pa.field("path", text, nullable=False),
        pa.field("status", text, nullable=False),
        pa.field("error", text),
        pa.field("width", pixels),
        pa.field("height", pixels),
        pa.field("fingerprint", text, nullable=False),
    ]
    label, class_id, score = ("label", text), ("class_id", pa.int32()), ("score", pa.float64())
    structs = {
        Task.DETECTION: [label, class_id, score, ("box_xyxy", pa.list_(pa.float64()))],
        Task.CLASSIFICATION: [label, class_id, score],
        Task.SEGMENTATION: [label, ("share", pa.float64())],
    }
    return pa.schema([*columns, pa.field(TASK_COLUMN[task], pa.list_(pa.struct(structs[task])))])


def task_value(record: dict[str, Any], task: Task) -> list[dict[str, Any]]:
    """The value of a task's column from a `prediction_record`."""
    value = record[TASK_COLUMN[task]]
    if task is Task.SEGMENTATION:
        return [{"label": label, "share": share} for label, share in value.items()]
    return value  # type: ignore[no-any-return]
