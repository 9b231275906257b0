"""Inputs through the network: together where the model can, and alone where together fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvforge_edge.errors import EdgeError
from cvforge_edge.postprocess import Outputs
from cvforge_edge.predictor import Predictor
from cvforge_server.errors import Code, RequestError
from cvforge_server.request_log import about

if TYPE_CHECKING:
    import numpy.typing as npt

_log = logging.getLogger(__name__)


def forward(
    predictor: Predictor,
    inputs_u8: Sequence[npt.NDArray[np.uint8]],
    *,
    batch_size: int,
    request_ids: Sequence[str] | None = None,
) -> list[Outputs | RequestError]:
    """The network's outputs for each input, in their order; where one fails, the problem stands in its place alone.

    Args:
        predictor: of the batch form where `batch_size` is above 1.
        inputs_u8: each (h, w, 3) uint8, as `PreprocessSpec.apply` makes them.
        batch_size: inputs that one forward pass takes at most, at least 1.
        request_ids: of the request that each input is of, for the log.
    """
    found: list[Outputs | RequestError] = []
    ids = [""] * len(inputs_u8) if request_ids is None else request_ids
    for start in range(0, len(inputs_u8), batch_size):
        found += _together(predictor, inputs_u8[start : start + batch_size], ids[start : start + batch_size])
    return found


def _together(
    predictor: Predictor, inputs_u8: Sequence[npt.NDArray[np.uint8]], ids: Sequence[str]
) -> list[Outputs | RequestError]:
    try:
        return [*predictor.raw_outputs_of(np.stack(inputs_u8))]
    except Exception as error:  # whatever it is, it must not fail the other images of the batch
        trace = None if isinstance(error, EdgeError) else error
        with about(*dict.fromkeys(filter(None, ids))):
            if len(inputs_u8) == 1:
                _log.error("inference failed: %s", error, exc_info=trace)
                return [_failed(error)]
            _log.warning("inference of %d images failed, each is run alone: %s", len(inputs_u8), error)
    alone = (_together(predictor, [one], [request_id]) for one, request_id in zip(inputs_u8, ids, strict=True))
    return [outcome for outcomes in alone for outcome in outcomes]


def _failed(error: Exception) -> RequestError:
    problem = RequestError(Code.INFERENCE_FAILED, "the model failed at this image; the server's log says why")
    problem.__cause__ = error  # for whoever may be told more than a client
    return problem
