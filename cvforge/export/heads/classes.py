"""Classifiers: one output (1, c), as logits that still need their softmax, or as probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cvforge.export.heads.head import Arrays, DecodeSpec, Head, Shape, is_static
from cvforge.export.heads.writer import GraphWriter
from cvforge_edge.types import Task


def _fits(shapes: Sequence[Shape]) -> bool:
    (shape,) = shapes
    return len(shape) in (2, 4) and is_static(shape) and shape[0] == 1 and shape[2:] in ((), (1, 1))


def _count_classes(shapes: Sequence[Shape]) -> int | None:
    return shapes[0][1]


def _write_softmax(graph: GraphWriter, outputs: Sequence[str], spec: DecodeSpec) -> tuple[str, ...]:
    return (graph.add("Softmax", graph.reshape(outputs[0], (1, spec.num_classes)), axis=1),)


def _write_as_it_is(graph: GraphWriter, outputs: Sequence[str], spec: DecodeSpec) -> tuple[str, ...]:
    return (graph.reshape(outputs[0], (1, spec.num_classes)),)


def _decode_softmax(outputs: Arrays, spec: DecodeSpec) -> dict[str, npt.NDArray[np.float32]]:
    logits = outputs[0].reshape(1, -1).astype(np.float64)
    powers = np.exp(logits - logits.max())
    return {"probs": (powers / powers.sum()).astype(np.float32)}


def _decode_as_it_is(outputs: Arrays, spec: DecodeSpec) -> dict[str, npt.NDArray[np.float32]]:
    return {"probs": outputs[0].reshape(1, -1).astype(np.float32)}


LOGITS = Head(
    task=Task.CLASSIFICATION,
    postprocess="classification_probs",
    summary="classifier that ends in logits; a softmax is added",
    outputs=("logits",),
    expected="(1, classes)",
    color="rgb",
    resize="center_crop",
    mean=None,
    std=None,
    fits=_fits,
    count_classes=_count_classes,
    write=_write_softmax,
    decode=_decode_softmax,
)
PROBS = replace(
    LOGITS,
    summary="classifier that ends in probabilities",
    outputs=("probs",),
    write=_write_as_it_is,
    decode=_decode_as_it_is,
)
