"""What is known about one kind of head: what its outputs look like and how they become those of the graph contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from cvforge.export.heads.writer import GraphWriter
from cvforge_edge.types import Task

Shape = tuple[int | None, ...]
"""Sizes of an output's axes; None where the graph does not fix one."""
Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True)
class DecodeSpec:
    """What decoding needs to know beside the outputs.

    Attributes:
        size_hw: height and width of the network's input, in pixels.
        num_classes: how many labels there are.
        shapes: of the outputs that are read.
        label_ids: the network's own number of each label, for heads that give numbers instead of scores.
        max_detections: rows of `boxes`, for heads whose number of detections depends on the image.
    """

    size_hw: tuple[int, int]
    num_classes: int
    shapes: tuple[Shape, ...]
    label_ids: tuple[int, ...] = ()
    max_detections: int = 300


@dataclass(frozen=True)
class Head:
    """One kind of head. Decoding is written twice, as ONNX nodes and in numpy, and an import compares the two.

    Attributes:
        task: what it predicts.
        postprocess: kind of post-processing on the device (`cvforge_edge.postprocess.KINDS`).
        summary: one line for `--help`.
        outputs: the outputs it reads, by the names that they usually have.
        expected: their shapes, in words, for messages.
        color: order of the channels that such networks are trained with.
        resize: how such networks are usually fed.
        mean: what is subtracted after scaling, for red, green, blue (or as `color` says); None where there is no
            convention.
        std: what is divided by then, likewise.
        fits: whether outputs of these shapes can be of this kind.
        count_classes: the number of classes that the shapes tell, or None.
        write: appends the nodes that decode; takes the names of the outputs, gives names in the order of the roles.
        decode: the same in numpy: role -> array with batch axis.
        score_threshold: lowest score of an object on the device, where the user says nothing.
        iou_threshold: of suppression, likewise.
        first_label_id: the network's number of the first label, for heads that give numbers; None for all others.
    """

    task: Task
    postprocess: str
    summary: str
    outputs: tuple[str, ...]
    expected: str
    color: str
    resize: str
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    fits: Callable[[Sequence[Shape]], bool]
    count_classes: Callable[[Sequence[Shape]], int | None]
    write: Callable[[GraphWriter, Sequence[str], DecodeSpec], tuple[str, ...]]
    decode: Callable[[Arrays, DecodeSpec], Mapping[str, npt.NDArray[Any]]]
    score_threshold: float = 0.3
    iou_threshold: float = 0.6
    first_label_id: int | None = None


def is_static(shape: Shape) -> bool:
    """Whether every axis has a fixed size of at least 1."""
    return all(size is not None and size >= 1 for size in shape)
