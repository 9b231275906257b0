"""Kills, changes and cuts off a real RTSP server again and again, and says how soon the camera was back and how old its pictures.

    python benchmarks/rtsp_soak.py --bundle bundle

The server (`rtsp_server.py`, GStreamer) is killed and started anew, each time with the next of four sizes and codecs, behind
a TCP relay that can be cut. The device's own pipeline reads it: one source, one session, and a sink that reads the time
of making from each picture. Needs Debian's packages (`rtsp_lab.INSTALL`). Run it alone: neighbours make pictures older.

- back: from the moment when the server listens again, or the wire is whole, to the first result of a new picture.
- age: from the making of a picture, before its encoding, to its result; of all results, those after each return included.
- memory (resident), descriptors and threads: of this process, while live, after the warm-up and at the end.
"""

from __future__ import annotations

import argparse
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

import rtsp_lab
from cvforge_edge.camera import open_source
from cvforge_edge.frame import Result
from cvforge_edge.pipeline import RunSummary, run_pipeline
from cvforge_edge.predictor import Predictor
from cvforge_edge.sources.live import LiveSource
from cvforge_edge.status_writer import resident_memory_mb

SHAPES = (("h264", "640x480"), ("mjpeg", "320x240"), ("h264", "480x360"), ("mjpeg", "640x480"))
H265 = ("h265", "320x240")
"""Asked for by an option: encoding it takes a core, and where that is not there the server's pictures are old."""
WARM_UP = len(SHAPES)
"""Each decoder has been loaded once by then."""
BACK_WITHIN_S = 5.0
INTERVALS_OF_AGE = 2
WAIT_S = 60.0
MEMORY_GROWTH_MB = 10.0
"""Allocators and decoders keep some; a leak of one picture a restart would be 18 MB over twenty."""


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    memory_mb: float
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Footprint:
        """Of this process (Linux)."""
        threads = sum(1 for _ in Path("/proc/self/task").iterdir())
        return cls(resident_memory_mb() or 0.0, sum(1 for _ in Path("/proc/self/fd").iterdir()), threads)


@dataclass
class AgeSink:
    """Notes of each result when it was complete, and when its picture was made."""

    done_s: list[float] = field(default_factory=list)
    made_s: list[float] = field(default_factory=list)

    def write(self, result: Result) -> None:
        """Note one."""
        made_s = rtsp_lab.shown_clock_s(result.frame.image_bgr)
        self.made_s.append(made_s)
        self.done_s.append(time.monotonic())  # last: a reader takes the lengths from here

    def close(self) -> None:
        """Nothing is open."""

    def summary(self) -> str:
        """How many."""
        return f"{len(self.done_s)} results"

    def first_made_after(self, moment_s: float, *, known: int) -> float:
        """When the first result of a picture that was made after a moment was complete.

        Args:
            moment_s: `time.monotonic()`.
            known: how many results there were before.

        Raises:
            RuntimeError: there is none within a minute.
        """
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            for number in range(known, len(self.done_s)):
                if self.made_s[number] >= moment_s:
                    return self.done_s[number]
            time.sleep(0.005)
        raise RuntimeError(f"no result of a new picture within {WAIT_S:g} s")


@dataclass(frozen=True)
class Soak:
    """What a soak found."""

    back_s: list[float]
    back_after_cut_s: float
    states: list[str]
    ages_s: np.ndarray
    before: Footprint
    after: Footprint
    source: LiveSource
    summary: RunSummary


def soak(options: argparse.Namespace, predictor: Predictor) -> Soak:
    """Kill, restart, cut and mend."""
    port = rtsp_lab.free_port()
    shapes = cycle([*SHAPES, H265] if options.h265 else SHAPES)
    wire = rtsp_lab.Wire(port)
    server = _serve(port, next(shapes), fps=options.fps)
    source = open_source(f"rtsp://127.0.0.1:{wire.port}/stream")
    assert isinstance(source, LiveSource)
    sink, back_s, before = AgeSink(), [], None
    with source, _running(source, predictor, sink) as summaries:
        sink.first_made_after(0.0, known=0)
        for count, shape in enumerate(islice(shapes, WARM_UP + options.restarts)):
            time.sleep(options.live)
            server.kill()
            time.sleep(options.away)
            server = _serve(port, shape, fps=options.fps)
            ready_s, known = time.monotonic(), len(sink.done_s)
            took_s = sink.first_made_after(ready_s, known=known) - ready_s
            if count >= WARM_UP:
                back_s.append(took_s)
            print(f"restart {count - WARM_UP + 1:>3}  {' '.join(shape):<14} back after {took_s:.2f} s", file=sys.stderr)
            if count == WARM_UP - 1:
                time.sleep(options.live)
                before = Footprint.now()
        after_cut_s, states = _cut(wire, source, sink, seconds=options.cut)
        time.sleep(max(options.live, 1.0))
        after = Footprint.now()
    server.kill()
    wire.close()
    assert before is not None
    ages_s = np.array(sink.done_s) - np.array(sink.made_s)
    return Soak(back_s, after_cut_s, states, ages_s, before, after, source, summaries[0])


def print_report(found: Soak, options: argparse.Namespace) -> bool:
    """Print the table; whether everything that was promised holds."""
    inference_s = found.summary.latency["predict"].p50_ms / 1000
    oldest_s = INTERVALS_OF_AGE / options.fps + inference_s
    p50_s, p99_s = (float(np.percentile(found.ages_s, share)) for share in (50, 99))
    before, after = found.before, found.after
    rows = [
        (f"back after a restart, worst of {len(found.back_s)}, s", max(found.back_s), BACK_WITHIN_S),
        ("back after a restart, median, s", float(np.median(found.back_s)), None),
        (f"back after a cut of {options.cut:g} s, s", found.back_after_cut_s, BACK_WITHIN_S),
        (f"age of a result, p50 of {len(found.ages_s)}, ms", p50_s * 1000, None),
        ("age of a result, p99, ms", p99_s * 1000, oldest_s * 1000),
        ("memory, growth in MB", after.memory_mb - before.memory_mb, MEMORY_GROWTH_MB),
        ("descriptors, growth", after.descriptors - before.descriptors, 0),
        ("threads, growth", after.threads - before.threads, 0),
        ("threads that hung", found.source.hanging, 0),
    ]
    held = True
    for name, value, limit in rows:
        verdict = "" if limit is None else f"<= {limit:g} {'reached' if value <= limit else 'MISSED'}"
        held = held and (limit is None or value <= limit)
        print(f"{name:<44}{value:>9.2f}   {verdict}")
    print(f"before   {before}\nafter    {after}")
    print(f"states during the cut: {' -> '.join(found.states)}; reconnects {found.source.reconnects}")
    print(f"inference p50 {inference_s * 1000:.1f} ms, {found.summary.frames} results, {found.summary.dropped} dropped")
    print(f"machine  {platform.system()} {platform.machine()}, Python {platform.python_version()}")
    print(f"versions numpy {version('numpy')}, OpenCV {cv2.__version__}; {options.fps} frames/s")
    return held


def main() -> int:
    """Soak and print; 1 when a promise is broken, 2 where there is no RTSP server."""
    options = _parser().parse_args()
    missing = rtsp_lab.missing_parts(("h264", "mjpeg", "h265") if options.h265 else ("h264", "mjpeg"))
    if missing is not None:
        print(f"rtsp_soak: {missing}", file=sys.stderr)
        return 2
    cv2.setNumThreads(1)
    with Predictor.from_bundle(options.bundle, threads=1) as predictor:
        return 0 if print_report(soak(options, predictor), options) else 1


def _serve(port: int, shape: tuple[str, str], *, fps: int) -> rtsp_lab.RtspServer:
    return rtsp_lab.RtspServer(port, codec=shape[0], size=shape[1], fps=fps)


def _cut(wire: rtsp_lab.Wire, source: LiveSource, sink: AgeSink, *, seconds: float) -> tuple[float, list[str]]:
    """Cut the wire for so long; seconds until it was back, and the states it went through."""
    states = [source.state]
    wire.cut()
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        if source.state != states[-1]:
            states.append(source.state)
        time.sleep(0.02)
    mended_s, known = time.monotonic(), len(sink.done_s)
    wire.mend()
    took_s = sink.first_made_after(mended_s, known=known) - mended_s
    return took_s, [*states, source.state]


@contextmanager
def _running(source: LiveSource, predictor: Predictor, sink: AgeSink) -> Iterator[list[RunSummary]]:
    """The pipeline on a thread of its own; its summary is in the list at the end."""
    stop, summaries = threading.Event(), []

    def run() -> None:
        summaries.append(run_pipeline([source], [predictor], sinks=[sink], stop=stop))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield summaries
    finally:
        stop.set()
        thread.join()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A real RTSP server, killed, changed and cut off again and again.")
    parser.add_argument("--bundle", required=True, metavar="FOLDER", help="model bundle")
    parser.add_argument("--restarts", type=int, default=20, metavar="N", help="after a warm-up (default %(default)s)")
    parser.add_argument("--cut", type=float, default=30.0, metavar="S", help="without traffic (default %(default)s)")
    parser.add_argument("--live", type=float, default=6.0, metavar="S", help="between restarts (default %(default)s)")
    parser.add_argument("--away", type=float, default=2.0, metavar="S", help="without server (default %(default)s)")
    parser.add_argument("--fps", type=int, default=15, metavar="F", help="of the camera (default %(default)s)")
    parser.add_argument("--h265", action="store_true", help="serve H.265 too (needs x265enc and a free core)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
