"""Several readings of one run of the network: what is scored, what a device reports, what files are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge_edge.postprocess import EMBEDDING, PostprocessSpec, postprocess
from cvforge_edge.predictor import Predictor
from cvforge_edge.types import Prediction, Task


@dataclass(frozen=True, eq=False)
class Readings:
    """What one run of the network gave.

    Attributes:
        predictions: one for each of the thresholds.
        embedding: (d,) float32, or None where the network gives none.
    """

    predictions: list[Prediction]
    embedding: npt.NDArray[Any] | None


def predict_each(predictor: Predictor, image_bgr: npt.NDArray[np.uint8], specs: Sequence[PostprocessSpec]) -> Readings:
    """What a model says about one image under each of several thresholds.

    Args:
        predictor: the model; its own thresholds do not count.
        image_bgr: (h, w, 3) uint8.
        specs: kind and thresholds. Specs that mean the same are read once: only detection has thresholds, and a class map
            at the size of a photo takes longer than a small network.

    Raises:
        SpecError, BackendError: as `Predictor.predict`.
    """
    input_u8, geometry = predictor.manifest.preprocess.apply(image_bgr)
    outputs = predictor.raw_outputs(input_u8)
    meanings = [spec if spec.task is Task.DETECTION else PostprocessSpec(spec.kind) for spec in specs]
    read = {spec: postprocess(outputs, spec, geometry) for spec in dict.fromkeys(meanings)}
    return Readings([read[spec] for spec in meanings], outputs.get(EMBEDDING))
