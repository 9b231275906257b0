"""Frames in, results out: reads, predicts and writes until the source ends or somebody says stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cvforge_edge.frame import Frame, Result
from cvforge_edge.latency import LatencyRecorder, StageLatency
from cvforge_edge.sources.prefetch import Prefetch

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8
    from cvforge_edge.manifest import Manifest
    from cvforge_edge.sinks.sink import Sink
    from cvforge_edge.sources.source import Source
    from cvforge_edge.types import Prediction

POLL_S = 0.2
"""A request to stop is heard at least this often, even while no frame comes."""


class FramePredictor(Protocol):
    """The part of `cvforge_edge.predictor.Predictor` that the pipeline uses."""

    @property
    def manifest(self) -> Manifest: ...  # noqa: D102

    def predict(self, image_bgr: ImageU8) -> Prediction: ...  # noqa: D102


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: frames that were read, predicted and written.
        dropped: frames of a camera that were replaced by a newer one before they were read.
        seconds: from the first frame to the last result.
        interrupted: whether the run was stopped before the end of a file; a camera has none.
        latency: by stage: `wait` for a frame (decoding that was not overlapped, or the camera's own pace), `predict`,
            `write` (drawing and storing), and `age` of a frame from its capture to its stored result.
    """

    frames: int
    dropped: int
    seconds: float
    interrupted: bool
    latency: dict[str, StageLatency]

    @property
    def fps(self) -> float:
        """Results a second, on average."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    def lines(self) -> list[str]:
        """The summary for a person."""
        ending = ", stopped before the end" if self.interrupted else ""
        first = f"{self.frames} frames in {self.seconds:.1f} s, {self.fps:.1f} frames/s, {self.dropped} dropped{ending}"
        rows = [
            f"  {stage:<8} p50 {latency.p50_ms:7.1f} ms   p95 {latency.p95_ms:7.1f} ms"
            for stage, latency in self.latency.items()
        ]
        return [first, *rows]


def run_pipeline(
    source: Source,
    predictor: FramePredictor,
    *,
    sinks: Sequence[Sink],
    stop: threading.Event,
    max_frames: int | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> RunSummary:
    """Run the model over a source. Files are decoded ahead on another thread; of a camera only the newest frame counts.

    Args:
        source: an open source; stays open.
        predictor: the model.
        sinks: take each result in this order; all of them are closed, also after an error.
        stop: set from another thread or a signal handler, ends the run after the current frame.
        max_frames: ends the run after so many frames.
        on_frame: called after each frame with the number of frames so far.

    Raises:
        EdgeError: the source, the model or a sink fails; results up to then are stored.
    """
    recorder = LatencyRecorder()
    frames, started_s, ended_s = 0, None, 0.0
    with ExitStack() as resources:
        for sink in sinks:
            resources.callback(sink.close)
        frames_in = source if source.live else resources.enter_context(Prefetch(source))
        while not stop.is_set() and (max_frames is None or frames < max_frames):
            asked_s = time.monotonic()
            frame = frames_in.read(timeout_s=POLL_S)
            if frame is None:
                if frames_in.ended:
                    break
                continue
            started_s = started_s or time.monotonic()
            recorder.add("wait", time.monotonic() - asked_s)
            _process(frame, predictor, sinks=sinks, recorder=recorder)
            frames, ended_s = frames + 1, time.monotonic()
            if on_frame is not None:
                on_frame(frames)
        interrupted = stop.is_set() and not source.live and not frames_in.ended
    return RunSummary(
        frames=frames,
        dropped=source.dropped,
        seconds=0.0 if started_s is None else ended_s - started_s,
        interrupted=interrupted,
        latency=recorder.percentiles(),
    )


def _process(frame: Frame, predictor: FramePredictor, *, sinks: Sequence[Sink], recorder: LatencyRecorder) -> None:
    begun_s = time.monotonic()
    prediction = predictor.predict(frame.image_bgr)
    predicted_s = time.monotonic()
    result = Result(frame, prediction, predictor.manifest.labels)
    for sink in sinks:
        sink.write(result)
    written_s = time.monotonic()
    recorder.add("predict", predicted_s - begun_s)
    recorder.add("write", written_s - predicted_s)
    recorder.add("age", written_s - frame.captured_s)
