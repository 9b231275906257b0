"""Frames in, results out: reads, predicts and writes until the source ends or somebody says stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cvforge_edge.frame import Result
from cvforge_edge.inbox import Inbox
from cvforge_edge.latency import LatencyRecorder, StageLatency
from cvforge_edge.outbox import Outbox
from cvforge_edge.records import dataclass
from cvforge_edge.sessions import FramePredictor, SessionCare, Sessions
from cvforge_edge.sinks.sink import Unhurried
from cvforge_edge.sinks.tended import Tending
from cvforge_edge.status import RunStatus, StatusBoard
from cvforge_edge.status_writer import StatusWriter

if TYPE_CHECKING:
    from cvforge_edge.sinks.sink import Sink
    from cvforge_edge.sources.source import Source
    from cvforge_edge.steps.step import Step

NO_CARE = SessionCare()
POLL_S = 0.2
"""A request to stop is heard at least this often, even while no frame comes."""


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: frames that were read, predicted and written.
        dropped: frames of a camera that were replaced by a newer one before they were read.
        seconds: from the first frame to the last result.
        interrupted: whether the run was stopped before the end of a file; a camera has none.
        latency: by stage; see `cvforge_edge.latency.STAGES`.
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
        return [first, *(_row(stage, latency) for stage, latency in self.latency.items())]


def run_pipeline(
    sources: Sequence[Source],
    predictors: Sequence[FramePredictor],
    *,
    sinks: Sequence[Sink],
    stop: threading.Event,
    steps: Sequence[Sequence[Step]] | None = None,
    max_frames: int | None = None,
    on_frame: Callable[[int], None] | None = None,
    board: StatusBoard | None = None,
    care: SessionCare = NO_CARE,
) -> RunSummary:
    """Run a model over any number of sources: reading, predicting and writing overlap.

    Each source has a thread of its own and each session of the model predicts on one; sinks are written on the
    calling thread. Of a camera only the newest frame counts, of a file every one. Results of a source leave in the order
    of its frames.

    Args:
        sources: open ones; stay open. Their frames take turns.
        predictors: sessions of one model, each used by one thread at a time.
        sinks: take each result in this order; all of them are closed, also after an error.
        stop: set from another thread or a signal handler, ends the run after the result that is being written.
        steps: for each source what is done with its results, in the order of its frames; None for nothing.
        max_frames: ends the run after so many frames of all sources together.
        on_frame: called after each result with the number of results so far.
        board: told about twice a second how the run goes; None tells nobody.
        care: what is done for sessions that are stuck, and how models are exchanged.

    Raises:
        WatchdogError: a session is stuck and cannot be replaced.
        EdgeError: a source, the model or a sink fails; results up to then are stored. Where one of several sources fails,
            the others go on, and the error comes at the end.
    """
    recorder, outbox = LatencyRecorder(), Outbox()
    written, started_s, ended_s = 0, None, 0.0
    with ExitStack() as resources:
        for sink in sinks:
            resources.callback(sink.close)
        inbox = resources.enter_context(Inbox(sources, in_work=len(predictors) + 1, max_frames=max_frames))
        status = StatusWriter(board or StatusBoard(RunStatus()), inbox=inbox, sinks=sinks, recorder=recorder)
        resources.callback(status.close)
        sessions, tending = (
            Sessions(predictors, inbox=inbox, outbox=outbox, recorder=recorder, care=care),
            Tending(sinks),
        )
        resources.callback(sessions.close)
        resources.callback(inbox.close)
        while not stop.is_set():
            for look_after in (inbox.watch, status.write_if_due, tending.tend_if_due, sessions.tend):
                look_after()
            busy = sessions.alive
            item = outbox.get(timeout_s=POLL_S if busy else 0.0)
            if item is None and busy:
                continue
            if item is None:
                break
            ticket, result = item
            started_s = started_s or time.monotonic()
            result = _finish(result, steps=steps[ticket.source] if steps else (), sinks=sinks, recorder=recorder)
            inbox.finish(ticket)
            written, ended_s = written + 1, time.monotonic()
            status.note(ticket.source, result, done_s=ended_s)
            if on_frame is not None:
                on_frame(written)
        if stop.is_set():
            _hurry(sinks)
        elif inbox.error is not None:
            raise inbox.error
        interrupted = stop.is_set() and not inbox.exhausted and not all(source.live for source in sources)
    return RunSummary(
        written, sum(inbox.dropped), ended_s - (started_s or ended_s), interrupted, _latency(recorder, written)
    )


def _latency(recorder: LatencyRecorder, written: int) -> dict[str, StageLatency]:
    return recorder.percentiles() if written else {}


def _hurry(sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        if isinstance(sink, Unhurried):
            sink.hurry()


def _finish(result: Result, *, steps: Sequence[Step], sinks: Sequence[Sink], recorder: LatencyRecorder) -> Result:
    begun_s = time.monotonic()
    for step in steps:
        result = step.apply(result)
    stepped_s = time.monotonic()
    for sink in sinks:
        sink.write(result)
    written_s = time.monotonic()
    if steps:
        recorder.add("steps", stepped_s - begun_s)
    recorder.add("write", written_s - stepped_s)
    recorder.add("age", written_s - result.frame.captured_s)
    if result.frame.decode_s is not None:
        recorder.add("decode", result.frame.decode_s)
    return result


def _row(stage: str, latency: StageLatency) -> str:
    columns = (("p50", latency.p50_ms), ("p95", latency.p95_ms), ("p99", latency.p99_ms))
    return f"  {stage:<8}" + "  ".join(f" {name} {value:7.1f} ms" for name, value in columns if value is not None)
