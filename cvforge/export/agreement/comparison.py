"""Scores a file and compares it with its checkpoint in one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cvforge.export.agreement.agreement import Agreement, AgreementCounter
from cvforge.export.agreement.boxes import FAINT_SHARE, BoxCounter
from cvforge.export.agreement.classes import ClassCounter
from cvforge.export.agreement.pixels import PixelCounter
from cvforge.export.one_run import predict_each
from cvforge_edge.manifest import Manifest
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.predictor import Predictor
from cvforge_edge.types import Prediction, Task

COUNTERS: dict[Task, Callable[[Manifest], AgreementCounter]] = {
    Task.CLASSIFICATION: lambda manifest: ClassCounter(manifest.labels),
    Task.DETECTION: lambda manifest: BoxCounter(manifest.labels, manifest.postprocess.score_threshold),
    Task.SEGMENTATION: lambda manifest: PixelCounter(manifest.labels),
}


def thresholds_of_comparison(spec: PostprocessSpec) -> PostprocessSpec:
    """Those of use, with boxes down to half the score threshold.

    The reported ones among them are exactly those of use: suppression visits boxes by descending score, so a fainter box
    never drops a stronger one.
    """
    return replace(spec, score_threshold=FAINT_SHARE * spec.score_threshold)


class ComparingPredictor:
    """Predicts with the thresholds of scoring, and compares what a device would report with the checkpoint's answers.

    Args:
        predictor: the file, with the thresholds of use.
        scoring: thresholds of scoring.
        answers: of the checkpoint, with `thresholds_of_comparison`, on the images that will come, in their order.
    """

    def __init__(self, predictor: Predictor, scoring: PostprocessSpec, answers: Iterable[Prediction]) -> None:
        self._predictor = predictor
        self._specs = (thresholds_of_comparison(predictor.manifest.postprocess), scoring)
        self._answers = iter(answers)
        self._counter = COUNTERS[predictor.manifest.task](predictor.manifest)

    def predict(self, image_bgr: npt.NDArray[np.uint8]) -> Prediction:
        """What the file says about one (h, w, 3) uint8 image, for scoring."""
        found, scored = predict_each(self._predictor, image_bgr, self._specs).predictions
        expected = next(self._answers, None)
        assert expected is not None, "a file is scored on more images than its checkpoint was"
        self._counter.add(expected, found)
        return scored

    def agreement(self) -> Agreement:
        """Over all images."""
        assert next(self._answers, None) is None, "a file is scored on fewer images than its checkpoint was"
        return self._counter.agreement()
