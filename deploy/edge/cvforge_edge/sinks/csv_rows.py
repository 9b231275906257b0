"""Results as CSV: a row for each detection, each of the strongest classes, each class in a picture, each event.

The columns are the same for every task, so that files can be joined; a cell that means nothing in a row is empty:

- `time_utc`: when a camera took the picture, ISO 8601 in UTC with milliseconds; empty for files;
- `time_s`: position in the clip, or seconds since the camera was opened;
- `source`, `frame`: name of the source, and number of the picture in it;
- `row`: what the row is about: `detection`, `class` (one of the five strongest), `pixel_share` or `event`;
- `label`, `class_id`: of the object or class;
- `score`: 0 to 1, of detections and classes;
- `x1`, `y1`, `x2`, `y2`: box in pixels of the picture;
- `track_id`: of the object, with tracking;
- `rule`, `event`: name of the rule, and kind of the event;
- `value`: share of the picture (0 to 1) of a `pixel_share`; what an event counts or measures.

A picture with nothing in it has no row; JSON Lines have a line for each picture.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from cvforge_edge.events import Event
from cvforge_edge.frame import Result
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.jsonl import json_record, not_finite
from cvforge_edge.sinks.line_file import LineFile
from cvforge_edge.sinks.rotation import Rotation

COLUMNS = (
    "time_utc",
    "time_s",
    "source",
    "frame",
    "row",
    "label",
    "class_id",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
    "track_id",
    "rule",
    "event",
    "value",
)


class CsvRows:
    """Writes rows to a file, or to standard output."""

    def __init__(self, path: str, *, content: Content = Content.RESULTS, rotation: Rotation | None = None) -> None:
        """Create the file; see `LineFile` for one that is there already.

        Args:
            path: the file, or `-` for standard output.
            content: rows for results, for events or for both.
            rotation: when the file is set aside; each file has the header. None for never.

        Raises:
            StorageError: the file cannot be created.
        """
        self._content = content
        self._lines = LineFile(path, rotation=rotation, header=",".join(COLUMNS))

    def write(self, result: Result) -> None:
        """Add the rows of one result; they reach the disk within half a second.

        Raises:
            StorageError: a row cannot be stored.
            BackendError: the prediction holds NaN or infinity.
        """
        if self._content.has_results:
            for row in _result_rows(result):
                if any(isinstance(cell, float) and not math.isfinite(cell) for cell in row.values()):
                    raise not_finite(result)
                self._lines.write(_line(row))
        if self._content.has_events:
            for event in result.events:
                self._lines.write(_line(_event_row(event)))

    def tend(self) -> None:
        """Bring rows that wait to the file, though none comes.

        Raises:
            StorageError: they cannot be stored.
        """
        self._lines.tend()

    def close(self) -> None:
        """Bring every row to the disk; may be called twice.

        Raises:
            StorageError: the last rows cannot be stored.
        """
        self._lines.close()

    def summary(self) -> str:
        """Where the rows are, and how many."""
        return f"{self._lines.place}: {self._lines.count} rows of CSV"


def utc_text(unix_time_s: float) -> str:
    """A moment in ISO 8601, UTC, with milliseconds.

    >>> utc_text(1700000000.1234)
    '2023-11-14T22:13:20.123Z'
    """
    moment = datetime.fromtimestamp(round(unix_time_s, 3), timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _result_rows(result: Result) -> Iterator[dict[str, Any]]:
    record = json_record(result)
    start = {**_when(record), "source": record["source"], "frame": record["frame"]}
    for found in record.get("detections", ()):
        box = dict(zip(("x1", "y1", "x2", "y2"), found.pop("box_xyxy"), strict=True))
        yield {**start, "row": "detection", **found, **box}
    for found in record.get("classes", ()):
        yield {**start, "row": "class", **found}
    for label, share in record.get("pixel_shares", {}).items():
        class_id = result.labels.index(label) if label in result.labels else None
        yield {**start, "row": "pixel_share", "label": label, "class_id": class_id, "value": share}


def _event_row(event: Event) -> dict[str, Any]:
    value = event.to_value()
    kept = {name: value[name] for name in ("source", "frame", "label", "track_id", "rule", "value")}
    return {**_when(value), **kept, "row": "event", "event": event.kind}


def _when(record: dict[str, Any]) -> dict[str, Any]:
    unix_time_s = record["unix_time_s"]
    return {"time_utc": None if unix_time_s is None else utc_text(unix_time_s), "time_s": record["time_s"]}


def _line(row: dict[str, Any]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="", extrasaction="ignore").writerow(row)
    return text.getvalue()
