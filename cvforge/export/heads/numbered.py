"""Detections that name their class by a number: as many rows as wanted, and a column of scores for each label."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.export.heads.head import DecodeSpec
from cvforge.export.heads.writer import GraphWriter

NO_CLASS = -1
"""Number of a row that only fills up; never a label's."""
INT64, FLOAT = 7, 1  # onnx.TensorProto's numbers


def write_filled(graph: GraphWriter, tensor: str, *, rows: int, columns: int, filling: str) -> str:
    """The first `rows` rows of a tensor with any number of them; missing ones repeat the one value of `filling`.

    Args:
        graph: takes the nodes.
        tensor: (n,) or (n, columns).
        rows: wanted.
        columns: of the result.
        filling: name of a constant (1,), of the tensor's type.
    """
    column_wise = graph.reshape(tensor, (-1, columns))
    spare = graph.add("Expand", filling, graph.integers((rows, columns)))
    return graph.slice(graph.add("Concat", column_wise, spare, axis=0), 0, rows, axis=0)


def write_scores(graph: GraphWriter, scores: str, *, numbers: str, spec: DecodeSpec) -> str:
    """Scores (n, c): a detection's score in the column of its label, 0 elsewhere.

    Args:
        graph: takes the nodes.
        scores: (n, 1) float32.
        numbers: (n, 1) int64.
        spec: says which number each label has.
    """
    match = graph.add("Equal", numbers, graph.integers([spec.label_ids]))
    return graph.add("Mul", scores, graph.add("Cast", match, to=FLOAT))


def filled(array: npt.NDArray[Any], rows: int, *, value: float) -> npt.NDArray[Any]:
    """The first `rows` rows of an array; missing ones are filled with `value`."""
    result = np.full((rows, *array.shape[1:]), value, array.dtype)
    result[: len(array)] = array[:rows]
    return result


def score_columns(
    scores: npt.NDArray[np.float32], numbers: npt.NDArray[np.int64], spec: DecodeSpec
) -> npt.NDArray[np.float32]:
    """Scores (n, c) of detections with one score (n,) and one class number (n,) each; unknown numbers score nowhere."""
    columns = np.zeros((len(scores), spec.num_classes), np.float32)
    for column, label_id in enumerate(spec.label_ids):
        columns[numbers == label_id, column] = scores[numbers == label_id]
    return columns
