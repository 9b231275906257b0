"""The score of whatever predicts on a data set: a checkpoint, an ONNX file and a TFLite file by the same lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cvforge.errors import DataError
from cvforge_edge.types import Prediction

Progress = Callable[[int, int], None]
"""Told after each image how many are done, and of how many."""


class PredictsImages(Protocol):
    """`cvforge_edge.predictor.Predictor` or anything like it."""

    def predict(self, image_bgr: npt.NDArray[np.uint8]) -> Prediction:
        """What the model says about one (h, w, 3) uint8 image."""


class LabelledImages(Protocol):
    """A data set of `cvforge.data`; an item has `image_bgr`, `truth` and `image_id`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class Metric(Protocol):
    """A metric of `cvforge.metrics`."""

    primary: str

    def update(self, prediction: Any, truth: Any, image_id: str) -> None:
        """Take in one image."""

    def compute(self) -> dict[str, float]:
        """The scores over all images taken in."""

    def reset(self) -> None:
        """Forget all images."""


def evaluate(
    predictor: PredictsImages,
    dataset: LabelledImages,
    metric: Metric,
    *,
    progress: Progress | None = None,
    limit: int | None = None,
) -> dict[str, float]:
    """Score a model, one image after the other.

    Args:
        predictor: what is scored, with the thresholds of scoring rather than those of use (`Predictor.with_postprocess`).
        dataset: the images and their truth.
        metric: is reset first, and holds all images afterwards.
        progress: told after each image.
        limit: score only this many images, spread evenly over the data set; None for all.

    Returns:
        Metric name -> value.

    Raises:
        DataError: there is no image, an image cannot be read, or the metric is undefined on these images.
    """
    indices = spread_indices(len(dataset), limit)
    if not indices:
        raise DataError("evaluation: the data set has no image; check data.root and the split")
    metric.reset()
    for done, index in enumerate(indices, start=1):
        sample = dataset[index]
        metric.update(predictor.predict(sample.image_bgr), sample.truth, sample.image_id)
        if progress is not None:
            progress(done, len(indices))
    try:
        return metric.compute()
    except ValueError as error:
        raise DataError(f"evaluation: {error}") from error


def spread_indices(count: int, limit: int | None) -> list[int]:
    """`limit` positions spread evenly over `count`, ascending; all of them where there are no more.

    Data sets are often sorted by class or by scene, so the first images alone would not stand for the rest.

    >>> spread_indices(10, 3)
    [0, 3, 6]
    """
    if limit is None or limit >= count:
        return list(range(count))
    return [position * count // limit for position in range(limit)]
