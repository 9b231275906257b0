"""One image with its truth, and a batch of them on its way to the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from cvforge_edge.preprocess import Geometry
from cvforge_edge.types import Task, Truth


@dataclass(frozen=True, eq=False)
class Sample:
    """One image as it lies on disk, and its truth.

    Attributes:
        image_bgr: (h, w, 3) uint8, EXIF orientation applied.
        truth: in pixels of this image.
        image_id: unique and stable inside the data set; the path relative to its root where there is a file.
    """

    image_bgr: npt.NDArray[np.uint8]
    truth: Truth
    image_id: str


class Dataset(Protocol):
    """What every on-disk format and every generated set offers.

    Building one reads and checks all annotations, and opens no image; `__getitem__` decodes one image.
    """

    task: Task
    labels: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def image_id(self, index: int) -> str:
        """The `image_id` of one sample, without decoding it."""

    def truth(self, index: int) -> Truth:
        """The truth of one sample, without decoding its image."""

    def fingerprint(self) -> str:
        """A name for exactly these images and truths, `<method>:<sha256>`; the order of the images does not count."""


@dataclass
class BoxTargets:
    """The true boxes of a batch in the frame of the network's input, padded to the longest list.

    Attributes:
        boxes_input_xyxy: (b, m, 4) float32, input pixels; rows of padding are zero.
        class_ids: (b, m) int64; -1 marks padding.
    """

    boxes_input_xyxy: torch.Tensor
    class_ids: torch.Tensor


@dataclass
class EvaluationItem:
    """What scoring one image needs beside the network's outputs; stays on the CPU."""

    image_id: str
    geometry: Geometry
    truth: Truth


@dataclass
class Batch:
    """What the data module hands to a task. Not frozen: Lightning refuses frozen batches.

    Attributes:
        images: (b, h, w, 3) uint8, RGB; the network normalises them itself.
        targets: detection: `BoxTargets`; classification: (b,) int64; segmentation: (b, h, w) int64 with 255 for
            void.
        items: one per image when evaluating, empty when training.
    """

    images: torch.Tensor
    targets: torch.Tensor | BoxTargets
    items: list[EvaluationItem] = field(default_factory=list)

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """The same batch with its tensors on another device (Lightning calls this)."""
        if isinstance(self.targets, BoxTargets):
            targets: torch.Tensor | BoxTargets = BoxTargets(
                self.targets.boxes_input_xyxy.to(device, **kwargs), self.targets.class_ids.to(device, **kwargs)
            )
        else:
            targets = self.targets.to(device, **kwargs)
        return Batch(self.images.to(device, **kwargs), targets, self.items)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for faster copies to a GPU (the loader calls this)."""
        if isinstance(self.targets, BoxTargets):
            targets: torch.Tensor | BoxTargets = BoxTargets(
                self.targets.boxes_input_xyxy.pin_memory(), self.targets.class_ids.pin_memory()
            )
        else:
            targets = self.targets.pin_memory()
        return Batch(self.images.pin_memory(), targets, self.items)
