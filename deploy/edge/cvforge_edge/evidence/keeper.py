"""Turns hard frames into files, as much of them as privacy and room allow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cvforge_edge.bundle import Bundle
from cvforge_edge.errors import StorageError
from cvforge_edge.evidence.folder import EvidenceFolder, Kept
from cvforge_edge.evidence.likeness import Likeness
from cvforge_edge.evidence.privacy import blurred, labels_to_blur
from cvforge_edge.evidence.reason import Reason
from cvforge_edge.evidence.record import CLASSES_SUFFIX, RECORD_SUFFIX, frame_name, record_value
from cvforge_edge.evidence.seen import THUMBNAIL_HW, Seen, thumbnail
from cvforge_edge.evidence.settings import EvidenceSettings
from cvforge_edge.strict_json import format_json
from cvforge_edge.types import SegmentationMap

JPEG_QUALITY = 95
COMPLAIN_EVERY_S = 600.0

logger = logging.getLogger(__name__)


class Keeper:
    """Stores hard frames; a full disk costs frames, never the run.

    Args:
        settings: what may be stored, and where.
        bundle: of the model.
        unix_time_s: the time of day.
        free_bytes: how much room the disk of a folder has; None asks the system.

    Raises:
        StorageError: the folder cannot be created or read.
        UsageError: another run uses it, or a class to blur is unknown.
    """

    def __init__(
        self,
        settings: EvidenceSettings,
        bundle: Bundle,
        *,
        unix_time_s: Callable[[], float] = time.time,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self._settings, self._bundle, self._unix_time_s = settings, bundle, unix_time_s
        self._blurred_ids = labels_to_blur(bundle.manifest.labels, settings.blur_labels)
        self.folder = EvidenceFolder(
            settings.folder,
            max_frames=settings.max_frames,
            max_bytes=settings.max_bytes,
            min_free_bytes=settings.min_free_bytes,
            manifest_sha256=bundle.manifest_sha256,
            **({} if free_bytes is None else {"free_bytes": free_bytes}),
        )
        self.stored = self.alike = self.failed = 0
        self._complained_s = -COMPLAIN_EVERY_S

    def offer(self, seen: Seen, reasons: tuple[Reason, ...]) -> None:
        """Store a frame, if it would stay; what cannot be stored is counted and named in the log now and then.

        Args:
            seen: the frame.
            reasons: the strongest first; at least one.
        """
        picture = self._picture(seen)
        likeness = _likeness(seen, reasons[0], picture)
        if not self.folder.wants(likeness, reasons[0].value):
            self.alike += 1
            return
        now_s = self._unix_time_s()
        name = frame_name(seen.frame)
        files = self._files(seen, picture)
        suffix = None if picture is None else f".{self._settings.picture_format}"
        value = record_value(
            seen,
            reasons,
            bundle=self._bundle,
            likeness=likeness,
            picture=None if suffix is None else (name + suffix, self._settings.pictures),
            stored_unix_s=now_s,
        )
        try:
            files[RECORD_SUFFIX] = format_json(value).encode("utf-8")
            size = sum(map(len, files.values()))
            self.folder.store(Kept(name, reasons[0].value, now_s, size, likeness), files)
            self.stored += 1
        except (StorageError, ValueError) as error:  # ValueError: NaN in a prediction
            self._complain(error)

    def _picture(self, seen: Seen) -> np.ndarray | None:
        if self._settings.pictures == "none":
            return None
        if self._settings.pictures == "blurred":
            return blurred(seen.glance, self._blurred_ids)
        return seen.glance.image_bgr

    def _files(self, seen: Seen, picture: np.ndarray | None) -> dict[str, bytes]:
        if picture is None:
            return {}
        suffix = f".{self._settings.picture_format}"
        files = {suffix: _encoded(suffix, picture)}
        prediction = seen.glance.prediction
        if isinstance(prediction, SegmentationMap):
            files[CLASSES_SUFFIX] = _encoded(".png", prediction.class_map)
        return files

    def _complain(self, error: Exception) -> None:
        self.failed += 1
        if time.monotonic() - self._complained_s >= COMPLAIN_EVERY_S:
            self._complained_s = time.monotonic()
            logger.warning("a hard frame was not kept: %s", error)


def _likeness(seen: Seen, reason: Reason, picture: np.ndarray | None) -> Likeness:
    height, width = seen.glance.image_bgr.shape[:2]
    box = reason.box_xyxy
    shares = None if box is None else (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    small = np.zeros(THUMBNAIL_HW, np.uint8) if picture is None else thumbnail(picture)
    return Likeness(reason.kind, reason.label, shares, small)


def _encoded(suffix: str, image: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    done, data = cv2.imencode(suffix, image, options)
    if not done:
        raise StorageError(f"a picture of shape {image.shape} {image.dtype} cannot be encoded as {suffix}")
    return data.tobytes()
