"""Gives objects ids that stay from frame to frame: tracking by detection, after ByteTrack.

Every track's place is predicted (`kalman`), and detections are given to tracks in three rounds, each by the assignment of
the largest total similarity (`assignment`), within a class: sure detections to known objects; what is unsure (half hidden
objects get low scores) to the rest of these; the sure rest to objects seen only once. What is left of that may be new
objects. Source: Zhang et al. 2022, ByteTrack: Multi-Object Tracking by Associating Every Detection Box. Other than there,
time is measured in seconds, since cameras drop frames; what is unsure may also continue an object that was lost
(docs/results/tracking.md); and boxes are widened by how uncertain a prediction has become before their overlap is
taken, after Yang et al. 2023, C-BIoU, where the width is a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.frame import Result
from cvforge_edge.records import dataclass
from cvforge_edge.steps.assignment import heaviest_pairs
from cvforge_edge.steps.kalman import BoxMotion, center_size
from cvforge_edge.steps.tracking_defaults import KEEP_LOST_S, LOWEST_SCORE
from cvforge_edge.types import Detections

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]

CONFIRM_FRAMES = 2
"""An object gets an id when it was seen in so many frames one after the other."""
SURE_OVERLAP, UNSURE_OVERLAP, NEW_OVERLAP = 0.2, 0.5, 0.3
"""Least similarity of a pair: sure detections and known objects, unsure ones, sure ones and objects seen once."""
WIDENING, WIDEST = 1.0, 0.5
"""Boxes are widened on each side by at most this part of their width or height."""
FIRST_ID = 1


@dataclass(frozen=True, eq=False)
class _Tracks:
    """What is known of n objects.

    Attributes:
        motion: of n boxes.
        class_ids: (n,) int64.
        track_ids: (n,) int64; 0 while tentative.
        frames: (n,) int64, in how many frames each was seen, up to the one that confirms it.
        seen_s: (n,) float64, when each was seen last.
    """

    motion: BoxMotion
    class_ids: Indices
    track_ids: Indices
    frames: Indices
    seen_s: Floats

    @classmethod
    def begin(cls, detections: Detections, time_s: float) -> _Tracks:
        """A tentative track for each detection."""
        count = len(detections)
        none, one = np.zeros(count, np.int64), np.ones(count, np.int64)
        return cls(BoxMotion.begin(detections.boxes_xyxy), detections.class_ids, none, one, np.full(count, time_s))

    def __len__(self) -> int:
        return len(self.track_ids)

    def select(self, keep: npt.NDArray[Any]) -> _Tracks:
        """The tracks that a boolean mask or an index array names."""
        return _Tracks(
            self.motion.select(keep), self.class_ids[keep], self.track_ids[keep], self.frames[keep], self.seen_s[keep]
        )

    def join(self, other: _Tracks) -> _Tracks:
        """These tracks and then the others."""
        return _Tracks(
            self.motion.join(other.motion),
            np.concatenate([self.class_ids, other.class_ids]),
            np.concatenate([self.track_ids, other.track_ids]),
            np.concatenate([self.frames, other.frames]),
            np.concatenate([self.seen_s, other.seen_s]),
        )


class Tracker:
    """Follows the objects of one source; a step for detection.

    Results keep the detections that belong to an object seen in at least two frames, with its id in `track_ids`: from 1,
    in the order in which the objects were confirmed, never used twice. Boxes and scores stay those of the model.
    """

    def __init__(
        self,
        *,
        score_threshold: float,
        class_thresholds: Mapping[int, float] | None = None,
        keep_lost_s: float = KEEP_LOST_S,
    ) -> None:
        """Begin with no object.

        Args:
            score_threshold: detections from this score on are sure: they alone begin tracks. The model should give
                detections down to `LOWEST_SCORE`, for the objects that are known already.
            class_thresholds: another one for some class ids.
            keep_lost_s: how long an object that is not seen keeps its id, in seconds, at least 0; one that was seen in the
                frame before always gets its chance.

        Raises:
            SpecError: a threshold is not in [0, 1], or the time below 0.
        """
        if not keep_lost_s >= 0:
            raise SpecError(f"tracker: found keep_lost_s {keep_lost_s}; accepted is a time of at least 0 seconds")
        self.set_thresholds(score_threshold, class_thresholds)
        self._keep_lost_s = keep_lost_s
        self._next_id = FIRST_ID
        self._time_s = 0.0
        self._tracks = _Tracks.begin(Detections.empty(), 0.0)

    def set_thresholds(self, score_threshold: float, class_thresholds: Mapping[int, float] | None = None) -> None:
        """From the next frame on, other scores make detections sure; from any thread. Known objects stay known.

        Raises:
            SpecError: a threshold is not in [0, 1].
        """
        thresholds = [score_threshold, *(class_thresholds or {}).values()]
        if not all(0 <= threshold <= 1 for threshold in thresholds):
            raise SpecError(f"tracker: found thresholds {thresholds}; accepted are thresholds from 0 to 1")
        self._sure = score_threshold, dict(class_thresholds or {})

    def apply(self, result: Result) -> Result:
        """The result with the detections that belong to a known object, and the ids of these.

        Raises:
            SpecError: the prediction is no list of detections.
        """
        if not isinstance(result.prediction, Detections):
            raise SpecError(f"tracker: found {type(result.prediction).__name__}, accepted only Detections")
        return replace(result, prediction=self.track(result.prediction, time_s=result.frame.time_s))

    def track(self, detections: Detections, *, time_s: float) -> Detections:
        """The detections of the next frame that belong to a known object, in the given order, with its id.

        Args:
            detections: of the whole frame, down to a low score.
            time_s: when the picture was taken; where it is before that of the frame before, all objects are forgotten.
        """
        tracks = self._predicted(time_s)
        confirmed = tracks.track_ids > 0
        sure = detections.scores >= self._thresholds(detections.class_ids)
        unsure = ~sure & (detections.scores >= np.float32(LOWEST_SCORE))
        rounds = (
            (confirmed, sure, SURE_OVERLAP),
            (confirmed, unsure, UNSURE_OVERLAP),
            (~confirmed, sure, NEW_OVERLAP),
        )
        detection_of = np.full(len(tracks), -1, np.int64)
        taken = np.zeros(len(detections), np.bool_)
        for which_tracks, which_detections, least in rounds:
            rows = np.flatnonzero(which_tracks & (detection_of < 0))
            columns = np.flatnonzero(which_detections & ~taken)
            if not len(rows) or not len(columns):
                continue
            pairs = heaviest_pairs(_similarity(tracks, detections, rows=rows, columns=columns) - least)
            detection_of[rows[pairs[:, 0]]] = columns[pairs[:, 1]]
            taken[columns[pairs[:, 1]]] = True
        seen = np.flatnonzero(detection_of >= 0)
        tracks = self._corrected(tracks, detections, rows=seen, detection_of=detection_of[seen], time_s=time_s)
        ids = np.zeros(len(detections), np.int64)
        ids[detection_of[seen]] = tracks.track_ids[seen]
        keep = (tracks.track_ids > 0) | (detection_of >= 0)
        self._tracks = tracks.select(keep).join(_Tracks.begin(detections.select(sure & ~taken), time_s))
        self._time_s = time_s
        return replace(detections, track_ids=ids).select(np.flatnonzero(ids))

    def _thresholds(self, class_ids: Indices) -> npt.NDArray[np.float32]:
        score_threshold, class_thresholds = self._sure
        thresholds = np.full(len(class_ids), score_threshold, np.float32)
        for class_id, threshold in class_thresholds.items():
            thresholds[class_ids == class_id] = threshold
        return thresholds

    def _predicted(self, time_s: float) -> _Tracks:
        """The tracks that are still looked for, where they should be now."""
        tracks, elapsed_s = self._tracks, time_s - self._time_s
        in_sight = tracks.seen_s == self._time_s
        wanted = (in_sight | (time_s - tracks.seen_s <= self._keep_lost_s)) & (elapsed_s >= 0)
        tracks, in_sight = tracks.select(wanted), in_sight[wanted]
        return replace(tracks, motion=tracks.motion.predict(max(elapsed_s, 0.0), seen=in_sight))

    def _corrected(
        self, tracks: _Tracks, detections: Detections, *, rows: Indices, detection_of: Indices, time_s: float
    ) -> _Tracks:
        """The tracks after some were seen; those that were seen often enough get an id."""
        frames, seen_s, track_ids = tracks.frames.copy(), tracks.seen_s.copy(), tracks.track_ids.copy()
        frames[rows] += 1
        seen_s[rows] = time_s
        fresh = rows[(track_ids[rows] == 0) & (frames[rows] >= CONFIRM_FRAMES)]
        track_ids[fresh] = self._next_id + np.arange(len(fresh))
        self._next_id += len(fresh)
        motion = tracks.motion.correct(rows, detections.boxes_xyxy[detection_of])
        return replace(tracks, motion=motion, track_ids=track_ids, frames=frames, seen_s=seen_s)


def _similarity(tracks: _Tracks, detections: Detections, *, rows: Indices, columns: Indices) -> Floats:
    """(k tracks, m detections) in [0, 1]: overlap of widened boxes, 0 for another class."""
    motion = tracks.motion.select(rows)
    widening = np.minimum(WIDENING * motion.center_std / motion.values[:, 2:], WIDEST)
    overlap = _widened_iou(motion.values, center_size(detections.boxes_xyxy[columns]), widening)
    overlap[tracks.class_ids[rows][:, None] != detections.class_ids[columns][None, :]] = 0.0
    return overlap


def _widened_iou(tracked: Floats, found: Floats, widening: Floats) -> Floats:
    """(k, m) overlap when each tracked box and what it is compared with grow by the same part of their sides.

    Args:
        tracked: (k, 4) centre x and y, width, height.
        found: (m, 4) likewise.
        widening: (k, 2) which part of width and height is added on each side.
    """
    growth = 1 + 2 * widening
    shared = np.ones((len(tracked), len(found)))
    for axis in (0, 1):  # an axis at a time: three times faster than arrays of (k, m, 2)
        half, other_half = tracked[:, None, 2 + axis] / 2, found[None, :, 2 + axis] / 2
        distance = np.abs(tracked[:, None, axis] - found[None, :, axis])
        reach = np.minimum(half, other_half)
        shared *= np.clip(
            growth[:, None, axis] * (half + other_half) - distance, 0.0, 2 * growth[:, None, axis] * reach
        )
    areas, found_areas = tracked[:, 2] * tracked[:, 3], found[:, 2] * found[:, 3]
    union = growth.prod(1)[:, None] * (areas[:, None] + found_areas[None, :]) - shared
    return np.divide(shared, union, out=shared, where=union > 0)  # type: ignore[no-any-return]
