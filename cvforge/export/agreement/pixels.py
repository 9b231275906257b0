"""Whether an exported segmentation network gives pixels the class that its checkpoint gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cvforge.export.agreement.agreement import Confusion, most_frequent, rounded, share_text
from cvforge.metrics.segmentation import MeanIoU
from cvforge_edge.types import SegmentationMap

_CODE_BASE = 256  # of MeanIoU.state: expected * 256 + found


@dataclass(frozen=True)
class PixelAgreement:
    """Class maps at the size of the original images, the checkpoint's taken as truth.

    Attributes:
        images: how many were compared.
        same: share of all pixels with the same class.
        worst_image: the same of the image where it is lowest.
        mean_iou: over the classes that occur in a map.
        lowest_label, lowest_iou: the class that agrees least.
        confused: the most frequent change of class.
    """

    images: int
    same: float
    worst_image: float
    mean_iou: float
    lowest_label: str
    lowest_iou: float
    confused: Confusion | None = None

    COLUMNS: ClassVar[tuple[str, ...]] = ("same pixels", "worst image", "mean IoU", "lowest class")
    MEANING: ClassVar[str] = (
        "Share of the pixels with the checkpoint's class, over all images and in the worst one; IoU of the class maps with the "
        "checkpoint's, as a mean over classes and of the class that agrees least."
    )

    def cells(self) -> tuple[str, ...]:
        """The numbers as texts for one row of a table."""
        lowest = f"{self.lowest_label} {self.lowest_iou:.3f}"
        return share_text(self.same), share_text(self.worst_image), f"{self.mean_iou:.4f}", lowest

    def summary(self) -> str:
        """What changed, in one line."""
        changed = f" ({self.confused})" if self.confused is not None else ""
        return (
            f"{share_text(self.same)} of the pixels have the checkpoint's class, {share_text(self.worst_image)} in the worst "
            f"of {self.images} images{changed}; mean IoU with its maps is {self.mean_iou:.4f}, lowest for "
            f"{self.lowest_label!r} with {self.lowest_iou:.3f}"
        )

    def hint(self) -> str | None:
        """Nothing: class maps alone do not say where it comes from."""
        return None

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return rounded(
            {
                "images": self.images,
                "same_pixels": self.same,
                "same_pixels_worst_image": self.worst_image,
                "mean_iou": self.mean_iou,
            }
        )


class PixelCounter:
    """Compares two segmentation networks, image after image; `labels` are class names."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._metric = MeanIoU(self._labels)
        self._images = 0
        self._worst = 1.0

    def add(self, expected: SegmentationMap, found: SegmentationMap) -> None:
        """Take in what the checkpoint and the file say about one image."""
        self._metric.update(found, expected, str(self._images))
        self._images += 1
        self._worst = min(self._worst, float((found.class_map == expected.class_map).mean()))

    def agreement(self) -> PixelAgreement:
        """Of all images taken in."""
        scores = self._metric.compute()
        ious = {name.partition("/")[2]: value for name, value in scores.items() if "/" in name}
        lowest = min(ious, key=lambda label: ious[label])
        return PixelAgreement(
            images=self._images,
            same=scores["pixel_accuracy"],
            worst_image=self._worst,
            mean_iou=scores["miou"],
            lowest_label=lowest,
            lowest_iou=ious[lowest],
            confused=most_frequent(self._confusions(), self._labels),
        )

    def _confusions(self) -> Counter[tuple[int, int]]:
        confusions: Counter[tuple[int, int]] = Counter()
        for codes, pixels in self._metric.state().values():
            for code, count in zip(codes.tolist(), pixels.tolist(), strict=True):
                expected, found = divmod(code, _CODE_BASE)
                if expected != found:
                    confusions[expected, found] += count
        return confusions
