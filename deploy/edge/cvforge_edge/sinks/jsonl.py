"""Results as JSON Lines: one object for each frame, one line for each object.

Every line has the keys `frame` (number in the source, from 0), `time_s` (position in the clip, or seconds since the
camera was opened), `unix_time_s` (when a camera took the picture; null for files), `source`, `width` and `height` (of
the picture, in pixels), and one more, by the task of the model:

- detection: `detections`, a list of `label`, `class_id`, `score` (0 to 1), `box_xyxy` (x1 y1 x2 y2 in pixels of the
  picture) and, with tracking, `track_id`; the surest first;
- classification: `classes`, the five strongest as `label`, `class_id`, `score`;
- segmentation: `pixel_shares`, an object from label to share of the picture (0 to 1), classes that are absent left out;
  `void` stands for pixels of no class.

Where rules found something in the frame there is `events`, too: a list of objects with the fields of
`cvforge_edge.events.Event`.
"""

from __future__ import annotations

import json
from typing import Any

from cvforge_edge.errors import BackendError
from cvforge_edge.frame import Result
from cvforge_edge.prediction_record import prediction_record
from cvforge_edge.sinks.line_file import LineFile
from cvforge_edge.sinks.rotation import Rotation

TIME_DECIMALS = 3


class JsonLines:
    """Writes results to a file, or to standard output."""

    def __init__(self, path: str, *, rotation: Rotation | None = None) -> None:
        """Create the file; see `LineFile` for one that is there already.

        Args:
            path: the file, or `-` for standard output.
            rotation: when the file is set aside; None for never.

        Raises:
            StorageError: the file cannot be created.
        """
        self._lines = LineFile(path, rotation=rotation)

    def write(self, result: Result) -> None:
        """Add one line; it reaches the disk within half a second.

        Raises:
            StorageError: the line cannot be stored.
            BackendError: the prediction or an event holds NaN or infinity, which JSON cannot say.
        """
        events = {"events": [event.to_value() for event in result.events]} if result.events else {}
        try:
            line = json.dumps({**json_record(result), **events}, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise not_finite(result) from error
        self._lines.write(line)

    def tend(self) -> None:
        """Let readers see the newest lines also while no frame comes.

        Raises:
            StorageError: they cannot be stored.
        """
        self._lines.flush_if_due()

    def close(self) -> None:
        """Bring every line to the disk; may be called twice.

        Raises:
            StorageError: the last lines cannot be stored.
        """
        self._lines.close()

    def summary(self) -> str:
        """Where the lines are, and how many."""
        return f"{self._lines.place}: {self._lines.count} lines of JSON"


def not_finite(result: Result) -> BackendError:
    """The error for a prediction that JSON has no words for."""
    return BackendError(
        f"{result.frame.source}: the prediction for frame {result.frame.index} holds NaN or infinity; "
        "the model or the runtime is wrong: run --self-test"
    )


def json_record(result: Result) -> dict[str, Any]:
    """The object of one line without events, as the description of this file lists its keys."""
    frame = result.frame
    return {
        "frame": frame.index,
        "time_s": round(frame.time_s, TIME_DECIMALS),
        "unix_time_s": None if frame.unix_time_s is None else round(frame.unix_time_s, TIME_DECIMALS),
        "source": frame.source,
        "width": frame.image_bgr.shape[1],
        "height": frame.image_bgr.shape[0],
        **prediction_record(result.prediction, result.labels),
    }
