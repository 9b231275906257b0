"""From samples to the tensors of a batch, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cvforge.data.sampling import Draw
from cvforge.data.types import Batch, BoxTargets, Dataset, EvaluationItem, Sample
from cvforge.errors import CVForgeError
from cvforge_edge.errors import EdgeError
from cvforge_edge.preprocess import Geometry, PreprocessSpec
from cvforge_edge.types import VOID_CLASS_ID, ClassLabel, Detections, Truth

Augment = Callable[..., Sample]
MIN_SIDE_PX = 1.0
"""Boxes thinner than this in the network's input are no training targets."""
PADDING_CLASS_ID = -1


@dataclass
class FailedBatch:
    """An error of a worker on its way to the main process, where it is raised without the worker's traceback."""

    error: CVForgeError | EdgeError


class TrainingView:
    """A data set as training sees it: augmented, preprocessed, in whole batches."""

    def __init__(self, dataset: Dataset, *, preprocess: PreprocessSpec, augment: Augment | None) -> None:
        self.dataset = dataset
        self.preprocess = preprocess
        self.augment = augment

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, draws: Sequence[Draw]) -> Batch | FailedBatch:
        """One batch; torch's loader calls this with the indices that its batch sampler gave."""
        try:
            samples = [self.sample(draw) for draw in draws]
        except (CVForgeError, EdgeError) as error:
            return FailedBatch(error)
        return make_batch(samples, preprocess=self.preprocess, evaluating=False)

    def sample(self, draw: Draw) -> Sample:
        """One augmented sample, before preprocessing."""
        sample = self.dataset[draw.index]
        return sample if self.augment is None else self.augment(sample, seed=draw.seed)


class EvaluationView:
    """A data set as scoring sees it: preprocessed as on the device, with what brings results back."""

    def __init__(self, dataset: Dataset, *, preprocess: PreprocessSpec) -> None:
        self.dataset = dataset
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Batch | FailedBatch:
        """One batch, with its `EvaluationItem`s."""
        try:
            samples = [self.dataset[index] for index in indices]
        except (CVForgeError, EdgeError) as error:
            return FailedBatch(error)
        return make_batch(samples, preprocess=self.preprocess, evaluating=True)


def make_batch(samples: Sequence[Sample], *, preprocess: PreprocessSpec, evaluating: bool) -> Batch:
    """Preprocess samples of one task and stack them; `items` are filled when evaluating."""
    images, targets, items = [], [], []
    for sample in samples:
        image, geometry = preprocess.apply(sample.image_bgr)
        images.append(image)
        targets.append(target_of(sample.truth, geometry))
        if evaluating:
            items.append(EvaluationItem(sample.image_id, geometry, sample.truth))
    return Batch(torch.from_numpy(np.stack(images)), stack_targets(targets), items)


Target = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | int | npt.NDArray[np.uint8]


def target_of(truth: Truth, geometry: Geometry) -> Target:
    """A truth in the frame of the network's input: (boxes, class ids), a class id, or a class map."""
    if isinstance(truth, ClassLabel):
        return truth.class_id
    if isinstance(truth, Detections):
        return _boxes_target(truth, geometry)
    return geometry.map_to_input(truth.class_map, fill=VOID_CLASS_ID)


def stack_targets(targets: Sequence[Target]) -> torch.Tensor | BoxTargets:
    """Targets of one task as the tensors of a batch."""
    if isinstance(targets[0], int):
        return torch.tensor(targets, dtype=torch.int64)
    if isinstance(targets[0], tuple):
        return _pad_boxes(targets)  # type: ignore[arg-type]
    return torch.from_numpy(np.stack(targets).astype(np.int64))  # type: ignore[arg-type]


def _boxes_target(truth: Detections, geometry: Geometry) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes inside the input; crowd regions stand for many objects and are no targets."""
    height, width = geometry.input_hw
    boxes = np.clip(geometry.boxes_to_input(truth.boxes_xyxy), 0, np.array([width, height, width, height], np.float32))
    keep = (boxes[:, 2] - boxes[:, 0] >= MIN_SIDE_PX) & (boxes[:, 3] - boxes[:, 1] >= MIN_SIDE_PX)
    if truth.is_crowd is not None:
        keep &= ~truth.is_crowd
    return boxes[keep], truth.class_ids[keep]


def _pad_boxes(targets: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]) -> BoxTargets:
    longest = max(len(class_ids) for _, class_ids in targets)
    boxes = torch.zeros((len(targets), longest, 4), dtype=torch.float32)
    labels = torch.full((len(targets), longest), PADDING_CLASS_ID, dtype=torch.int64)
    for row, (row_boxes, class_ids) in enumerate(targets):
        boxes[row, : len(class_ids)] = torch.from_numpy(row_boxes)
        labels[row, : len(class_ids)] = torch.from_numpy(class_ids)
    return BoxTargets(boxes, labels)
