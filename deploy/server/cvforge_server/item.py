"""One image on its way through the server, and what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cvforge_edge.errors import EdgeError
from cvforge_edge.postprocess import Outputs, PostprocessSpec, postprocess
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Detections
from cvforge_server.answer import result_fields
from cvforge_server.drift import Drift
from cvforge_server.errors import Code, RequestError
from cvforge_server.images import Limits, PixelBudget, Upload, decode_upload
from cvforge_server.options import RequestOptions
from cvforge_server.room import Room

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_log = logging.getLogger(__name__)
OK = 200


class Item:
    """An image of a request; what goes wrong with it is kept here and stops nothing else.

    Args:
        upload: as the client sent it.
        drift: is shown some of the images; None where nobody compares them.

    Attributes:
        problem: why it cannot be answered; None so far.
        input_u8: of the network, (h, w, 3) uint8; None before `open`.
        objects: that were found.
    """

    def __init__(self, upload: Upload, drift: Drift | None = None) -> None:
        self._upload, self._drift = upload, drift
        self._sample: npt.NDArray[np.uint8] | None = None
        self.problem: RequestError | None = None
        self.input_u8: npt.NDArray[np.uint8] | None = None
        self.objects = 0

    def open(self, preprocess: PreprocessSpec, limits: Limits, budget: PixelBudget) -> None:
        """Decode and prepare the image, whose pixels count against those of its request."""
        try:
            # Only the network's input is kept: the decoded pictures of gathered requests can be gigabytes.
            image_bgr = decode_upload(self._upload, limits, budget)
            self.input_u8, self._geometry = preprocess.apply(image_bgr)
            self._size_hw = image_bgr.shape[:2]
            self._limits = limits
            self._sample = None if self._drift is None else self._drift.sample(image_bgr)
        except RequestError as problem:
            self.problem = problem.without_frames()
        except Exception:  # an image that we have no idea of must not fail its neighbours
            self.problem = unexpected("an image cannot be read")

    def finish(
        self,
        outputs: Outputs | RequestError | None,
        spec: PostprocessSpec,
        *,
        labels: Sequence[str],
        options: RequestOptions,
        write: Callable[[Mapping[str, Any]], bytes],
        room: Room,
    ) -> bytes:
        """The image's part of the answer, as it is sent.

        Args:
            outputs: of the network for this image, or why there are none; None where `open` found a problem.
            spec: how outputs are read.
            labels: of the model.
            options: of the request.
            write: makes those bytes of fields.
            room: for them; where it does not suffice, the image is refused.
        """
        if isinstance(outputs, RequestError):
            self.problem = outputs
        if self.problem is None and outputs is not None and not isinstance(outputs, RequestError):
            try:
                row = write(self._result(outputs, spec, labels=labels, options=options, room=room))
                room.check(len(row))
                return row
            except RequestError as problem:
                self.problem = problem.without_frames()
            except EdgeError as error:
                _log.error("outputs cannot be read: %s", error)
                self.problem = RequestError(Code.INFERENCE_FAILED, f"the model's answer is not usable: {error}")
            except Exception:
                self.problem = unexpected("an image cannot be answered")
        self.objects = 0
        assert self.problem is not None
        return write(self.refusal(self.problem))

    def refusal(self, problem: RequestError) -> dict[str, Any]:
        """The image's part of the answer where it cannot be answered."""
        return {"image": self._upload.name, "status": problem.status, "error": problem.to_value()}

    def _result(
        self, outputs: Outputs, spec: PostprocessSpec, *, labels: Sequence[str], options: RequestOptions, room: Room
    ) -> dict[str, Any]:
        if options.score_threshold is not None:
            spec = replace(spec, score_threshold=options.score_threshold)
        prediction = postprocess(outputs, spec, self._geometry)
        height, width = self._size_hw
        fields = result_fields(prediction, labels=labels, options=options, picture_of=self._picture, room=room)
        self.objects = len(fields.get("detections", ())) if isinstance(prediction, Detections) else 1
        if self._drift is not None and self._sample is not None:
            self._drift.add(self._sample, outputs, geometry=self._geometry, spec=spec, prediction=prediction)
        return {"image": self._upload.name, "status": OK, "width": width, "height": height, **fields}

    def _picture(self) -> npt.NDArray[np.uint8]:
        """The image, decoded once more."""
        return decode_upload(self._upload, self._limits)


def unexpected(what: str) -> RequestError:
    """What a client is told of an exception that nobody thought of; called while it is handled, which logs it."""
    _log.exception(what)
    return RequestError(Code.INFERENCE_FAILED, "an unexpected error; the server's log has more")
