"""What the checkpoint sees and finds on the images it is scored on: statistics, answers, and what each class rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.export.agreement.answers import Answers
from cvforge.export.agreement.comparison import thresholds_of_comparison
from cvforge.export.one_run import predict_each
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.distribution import Distribution
from cvforge_edge.stats.embedding import DISTANCE_BINS, EmbeddingStatistics
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import VOID_CLASS_ID, ClassLabel, Detections, Prediction

FOLDS = 10


class StatisticsPredictor:
    """Predicts with the thresholds of scoring and notes what a device would have reported for the same raw outputs.

    So one pass over the images gives the score, the reference statistics, and the answers that files are compared with.

    Args:
        predictor: with the thresholds of use.
        scoring: thresholds of scoring.
    """

    def __init__(self, predictor: Predictor, scoring: PostprocessSpec) -> None:
        self._predictor = predictor
        manifest = predictor.manifest
        self._specs = (manifest.postprocess, thresholds_of_comparison(manifest.postprocess), scoring)
        self._noted = Statistics(manifest.task, manifest.labels)
        self._embeddings: list[npt.NDArray[Any]] = []
        self.answers = Answers()

    @property
    def statistics(self) -> Statistics:
        """Of all images so far; where there are embeddings, with how far each image lies from the others."""
        if self._noted.embedding is not None:
            self._noted.embedding.distances = distances_from_others(self._embeddings)
        return self._noted

    def predict(self, image_bgr: npt.NDArray[np.uint8]) -> Prediction:
        """What the model says about one (h, w, 3) uint8 image, for scoring."""
        readings = predict_each(self._predictor, image_bgr, self._specs)
        reported, compared, scored = readings.predictions
        self._noted.add(image_bgr, reported, embedding=readings.embedding)
        if readings.embedding is not None:
            self._embeddings.append(readings.embedding)
        self.answers.add(compared)
        return scored


def distances_from_others(embeddings: Sequence[npt.NDArray[Any]]) -> Distribution:
    """How far each image lies from images that it is not one of: every tenth from the other nine tenths.

    Measured from a set that it is part of, an image seems nearer than a new one of the same kind: of 87 images and 32 numbers
    by a fifth. Empty where the others have no spread.
    """
    parts = [_together(embeddings[start::FOLDS]) for start in range(min(FOLDS, len(embeddings)))]
    distances = Distribution(DISTANCE_BINS)
    for number in range(len(parts)):
        others = EmbeddingStatistics(parts[number].width)
        for part in parts[:number] + parts[number + 1 :]:
            others.merge(part)
        if others.can_measure:
            distances.add(others.distance(np.stack(embeddings[number::FOLDS])))
    return distances


def _together(embeddings: Sequence[npt.NDArray[Any]]) -> EmbeddingStatistics:
    joined = EmbeddingStatistics(len(embeddings[0]))
    for embedding in embeddings:
        joined.merge(EmbeddingStatistics.of(embedding))
    return joined


@dataclass(frozen=True, eq=False)
class ClassEvidence:
    """On how much truth the score of each class rests; arrays (c,) int64 in the order of the labels.

    Attributes:
        images: scored images that show the class.
        objects: objects of the class, for detection; else as `images`.
    """

    images: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]


class EvidenceMetric:
    """A metric that also notes the truth that it is given; everything else is the metric's own.

    Args:
        metric: of the task.
        num_classes: number of labels.
    """

    def __init__(self, metric: Any, num_classes: int) -> None:
        self._metric = metric
        self.primary: str = metric.primary
        self._num_classes = num_classes
        self._rows: list[npt.NDArray[np.int64]] = []

    @property
    def evidence(self) -> ClassEvidence:
        """Of all images taken in since the last reset."""
        total = sum(self._rows, start=np.zeros((2, self._num_classes), np.int64))
        return ClassEvidence(images=total[0], objects=total[1])

    def update(self, prediction: Any, truth: Any, image_id: str) -> None:
        """Take in one image."""
        self._metric.update(prediction, truth, image_id)
        self._rows.append(self._row(truth))

    def compute(self) -> dict[str, float]:
        """The scores over all images taken in."""
        return self._metric.compute()  # type: ignore[no-any-return]

    def reset(self) -> None:
        """Forget all images."""
        self._metric.reset()
        self._rows = []

    def _row(self, truth: Any) -> npt.NDArray[np.int64]:
        if isinstance(truth, Detections):
            counted = truth.class_ids if truth.is_crowd is None else truth.class_ids[~truth.is_crowd]
            objects = np.bincount(counted, minlength=self._num_classes)
            return np.stack([objects > 0, objects]).astype(np.int64)
        if isinstance(truth, ClassLabel):
            present = np.arange(self._num_classes) == truth.class_id
        else:
            present = np.bincount(truth.class_map.ravel(), minlength=VOID_CLASS_ID + 1)[: self._num_classes] > 0
        return np.stack([present, present]).astype(np.int64)
