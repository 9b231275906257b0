"""One picture from a source, and the same picture with what the model says about it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8
    from cvforge_edge.events import Event
    from cvforge_edge.markings import Marking
    from cvforge_edge.types import Prediction

MASK_OPACITY = 0.5


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture and where and when it was taken.

    Attributes:
        image_bgr: (h, w, 3) uint8, as OpenCV reads it.
        index: number of the picture in its source, from 0; frames of a camera that nobody had time for leave gaps.
        time_s: position in the clip, or seconds since the camera was opened.
        unix_time_s: when a camera took the picture, in seconds since 1970; None for files.
        source: name of the file, camera or stream, without passwords.
        captured_s: `time.monotonic()` at the moment when the picture was ready.
        decode_s: seconds that decoding it took, of a camera the processor time of its thread; None where it is unknown.
    """

    image_bgr: ImageU8
    index: int
    time_s: float
    unix_time_s: float | None
    source: str
    captured_s: float
    decode_s: float | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """A frame and its prediction.

    Attributes:
        frame: the picture that the model saw.
        prediction: what it says, in pixels of that picture.
        labels: names of the classes, in the order of their ids.
        events: what rules found to have happened with this picture.
        camera: number of its source among those of the run, from 0.
        markings: lines, zones and counts of rules that are drawn, too.
        mask_opacity: of the colours of a segmentation, 0 to 1.
    """

    frame: Frame
    prediction: Prediction
    labels: tuple[str, ...]
    events: tuple[Event, ...] = ()
    camera: int = 0
    markings: tuple[Marking, ...] = ()
    mask_opacity: float = MASK_OPACITY

    @cached_property
    def annotated_bgr(self) -> ImageU8:
        """As `draw_result`; drawn once, however many sinks ask."""
        return draw_result(self)


def draw_result(result: Result) -> ImageU8:
    """The picture with prediction and markings drawn on a copy of it: what every place for results shows."""
    from cvforge_edge.draw import draw_prediction  # many runs never draw
    from cvforge_edge.markings import draw_markings

    canvas = draw_prediction(
        result.frame.image_bgr, result.prediction, labels=result.labels, mask_opacity=result.mask_opacity
    )
    draw_markings(canvas, result.markings)
    return canvas
