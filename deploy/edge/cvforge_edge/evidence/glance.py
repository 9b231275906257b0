"""What the network saw and said of a frame, kept until the frame's result arrives: filters and trackers change results."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.geometry import Geometry
from cvforge_edge.latency import PredictTimes
from cvforge_edge.postprocess import EMBEDDING, Outputs, PostprocessSpec, postprocess
from cvforge_edge.records import dataclass
from cvforge_edge.types import Prediction, Task

if TYPE_CHECKING:
    import numpy.typing as npt

    from cvforge_edge.bundle import Bundle
    from cvforge_edge.draw import ImageU8
    from cvforge_edge.manifest import Manifest
    from cvforge_edge.predictor import Predictor

KEPT_GLANCES = 64
"""More frames are never on their way through a run; those whose results never came are forgotten."""
ENTROPY_GRID = 32
"""Pixels a side at which the entropy of a segmentation is taken: a thousand of them say as much as all."""


@dataclass(frozen=True, eq=False)
class Glance:
    """One frame with the raw outputs of the network.

    Attributes:
        image_bgr: (h, w, 3) uint8, what the network saw: the whole picture, or the region that it looks at.
        outputs: by role, without batch axis.
        geometry: how the image was placed in the network's input.
        spec: kind and thresholds of the run.
        bundle: of the model; its reference statistics were made with its own thresholds.
        prediction: with `spec`, in pixels of `image_bgr`.
        load: number of the load that the model came with; higher ones came later, also of a bundle that ran before.
    """

    image_bgr: ImageU8
    outputs: Outputs
    geometry: Geometry
    spec: PostprocessSpec
    bundle: Bundle
    prediction: Prediction
    load: int = 0

    @cached_property
    def usual_prediction(self) -> Prediction:
        """With the thresholds of the bundle."""
        usual_spec = self.bundle.manifest.postprocess
        return self.prediction if usual_spec == self.spec else postprocess(self.outputs, usual_spec, self.geometry)

    @cached_property
    def embedding(self) -> npt.NDArray[np.float32] | None:
        """(d,), or None where the model has none."""
        found = self.outputs.get(EMBEDDING)
        return None if found is None else np.asarray(found, np.float32).ravel()

    @cached_property
    def entropy(self) -> float | None:
        """Segmentation only: mean over pixels of the entropy of the class probabilities, 0 (sure) to 1 (no idea).

        Divided by the logarithm of the number of classes. Source: Shannon 1948, A Mathematical Theory of Communication, 6.
        """
        if self.spec.task is not Task.SEGMENTATION:
            return None
        logits: Any = self.outputs["logits"]
        rows, columns = (max(1, side // ENTROPY_GRID) for side in logits.shape[:2])
        picked = np.asarray(logits[::rows, ::columns], np.float64)
        shifted = picked - picked.max(axis=-1, keepdims=True)
        weights = np.exp(shifted)
        total = weights.sum(axis=-1)
        entropy = np.log(total) - (weights * shifted).sum(axis=-1) / total
        return float(entropy.mean() / np.log(logits.shape[-1]))

    def with_score_threshold(self, score_threshold: float) -> Prediction:
        """What the same outputs say with another threshold; only detection changes."""
        return postprocess(self.outputs, replace(self.spec, score_threshold=score_threshold), self.geometry)


class Glances:
    """The glances of frames that are on their way, for any number of threads, at most `KEPT_GLANCES`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Glance] = OrderedDict()

    def put(self, glance: Glance) -> None:
        """Keep a glance until its frame asks for it."""
        with self._lock:
            self._kept[_memory(glance.image_bgr)] = glance
            while len(self._kept) > KEPT_GLANCES:
                self._kept.popitem(last=False)

    def take(self, image_bgr: ImageU8) -> Glance | None:
        """The glance at a picture, or at a part of it; None where there was none. It is no longer kept."""
        with self._lock:
            return self._kept.pop(_memory(image_bgr), None)


class WatchedPredictor:
    """Predicts as the model does, and puts what it saw and said aside.

    Args:
        predictor: a session of the model.
        bundle: that the model is of.
        glances: where they are kept.
        load: see `Glance`.
    """

    def __init__(self, predictor: Predictor, *, bundle: Bundle, glances: Glances, load: int = 0) -> None:
        self._predictor, self._bundle, self._glances, self._load = predictor, bundle, glances, load

    @property
    def manifest(self) -> Manifest:
        """Of the model."""
        return self._predictor.manifest

    @property
    def times(self) -> PredictTimes | None:
        """As those of `Predictor`."""
        return self._predictor.times

    def predict(self, image_bgr: ImageU8) -> Prediction:
        """As `Predictor.predict`."""
        answer, spec = self._predictor.answer(image_bgr), self.manifest.postprocess
        glance = Glance(image_bgr, answer.outputs, answer.geometry, spec, self._bundle, answer.prediction, self._load)
        self._glances.put(glance)
        return answer.prediction

    def close(self) -> None:
        """Free the model."""
        self._predictor.close()


def _memory(image_bgr: Any) -> int:
    """Which memory an array looks into: the same for a picture and for a region of it.

    A glance holds its picture, so no other picture can have this number while it is kept.
    """
    while isinstance(image_bgr.base, np.ndarray):
        image_bgr = image_bgr.base
    return id(image_bgr)
