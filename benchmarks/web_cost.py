"""What the web page costs a run: frames a second and processor time with nobody, one and five who look.

    python benchmarks/web_cost.py --bundle bundle --source clip.mp4

Two parts, each in rounds that take turns through the cases. "At full speed" runs the clip as fast as the model goes,
"as a camera" gives its frames at `--fps`. Processor time is that of the whole process; viewers read `/live/0.mjpg` in a
process of their own, so that their time is not counted. On a busy machine the ratios and the processor time still hold.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "deploy" / "edge"))

import cv2

from cvforge_edge.frame import Frame
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.predictor import Predictor
from cvforge_edge.status import RunStatus, StatusBoard
from cvforge_edge.web.address import WebAddress, listen
from cvforge_edge.web.sink import WebSink

CASES = (None, 0, 1, 5)
"""Viewers; None for a run without the page."""
VIEWER = """
import socket, sys, threading
def look():
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.sendall(b"GET /live/0.mjpg HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        while connection.recv(1 << 20):
            pass
threads = [threading.Thread(target=look) for _ in range(int(sys.argv[2]))]
[thread.start() for thread in threads]
print("looking", flush=True)
[thread.join() for thread in threads]
"""


class Clip:
    """Decoded frames of a clip, again and again.

    Args:
        images: (h, w, 3) uint8 BGR.
        seconds: how long there are frames.
        fps: their pace, as of a camera; None for as fast as they are taken, as of a file.
    """

    frame_count, dropped, state = None, 0, "live"

    def __init__(self, images: Sequence, *, seconds: float, fps: float | None) -> None:
        self.name, self.fps, self.live = "clip", fps, fps is not None
        self.images, self.ended, self.index = images, False, 0
        self.begun_s = time.monotonic()
        self.ends_s = self.begun_s + seconds

    def read(self, *, timeout_s: float) -> Frame | None:
        """The next frame; a camera's at its time."""
        now_s = time.monotonic()
        if now_s >= self.ends_s:
            self.ended = True
            return None
        if self.fps is not None:
            time.sleep(max(0.0, self.begun_s + self.index / self.fps - now_s))
        self.index += 1
        image = self.images[self.index % len(self.images)]
        return Frame(image, self.index, self.index / 25, None, self.name, time.monotonic())


@dataclass(frozen=True)
class Measured:
    """One round of one case: results a second, processor milliseconds a result, and processor seconds a second."""

    fps: float
    frame_ms: float
    load: float


def measure(
    predictor: Predictor, images: Sequence, *, viewers: int | None, seconds: float, fps: float | None
) -> Measured:
    """Run the pipeline once."""
    board = StatusBoard(RunStatus())
    page, looking = None, None
    if viewers is not None:
        listener = listen(WebAddress("127.0.0.1", 0))
        page = WebSink(board, listener=listener, cameras=1, token=None)
        command = [sys.executable, "-c", VIEWER, str(listener.getsockname()[1]), str(viewers)]
        looking = subprocess.Popen(command, stdout=subprocess.PIPE)
        looking.stdout.readline()
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    source = Clip(images, seconds=seconds, fps=fps)
    summary = run_pipeline([source], [predictor], sinks=[page] if page else [], stop=threading.Event(), board=board)
    wall_s, cpu_s = time.monotonic() - begun_s, time.process_time() - begun_cpu_s
    if looking is not None:
        looking.wait(30)
        looking.stdout.close()
    return Measured(summary.fps, 1000 * cpu_s / max(1, summary.frames), cpu_s / wall_s)


def main() -> int:
    """Measure and print."""
    options = _parser().parse_args()
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(options.source)
    images = []
    while len(images) < options.frames and (read := capture.read())[0]:
        images.append(read[1])
    capture.release()
    if not images:
        print(f"{options.source}: no frame can be read; name a video", file=sys.stderr)
        return 4
    height, width = images[0].shape[:2]
    with Predictor.from_bundle(options.bundle, backend=options.backend, precision=options.precision) as predictor:
        for title, fps in (("at full speed", None), (f"as a camera of {options.fps:g} frames/s", options.fps)):
            found: dict[int | None, list[Measured]] = {case: [] for case in CASES}
            measure(predictor, images, viewers=None, seconds=1.0, fps=fps)
            for _ in range(options.rounds):
                for case in CASES:
                    found[case].append(measure(predictor, images, viewers=case, seconds=options.seconds, fps=fps))
            _print(title, found)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{width} x {height}, {options.rounds} rounds of {options.seconds:g} s; {machine}, OpenCV {cv2.__version__}")
    return 0


def _print(title: str, found: dict[int | None, list[Measured]]) -> None:
    print(f"| {title} | frames/s | of the run without page | processor, ms a frame | processor, cores |")
    print("|---|---|---|---|---|")
    for case, rounds in found.items():
        name = "without page" if case is None else f"page, {case} viewer{'' if case == 1 else 's'}"
        ratios = [one.fps / other.fps for one, other in zip(rounds, found[None], strict=True)]
        print(
            f"| {name} | {_median(one.fps for one in rounds):.1f} | {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}) | {_median(one.frame_ms for one in rounds):.2f} | "
            f"{_median(one.load for one in rounds):.2f} |"
        )
    print()


def _median(values) -> float:
    return statistics.median(list(values))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What the web page of run_camera.py costs a run.")
    parser.add_argument("--bundle", required=True, metavar="FOLDER", help="model bundle")
    parser.add_argument("--source", required=True, metavar="FILE", help="video")
    parser.add_argument("--backend", metavar="NAME", help="inference runtime (default: the bundle's preferred)")
    parser.add_argument("--precision", metavar="NAME", help="model of the bundle (default: its first that fits)")
    parser.add_argument(
        "--frames", type=int, default=100, metavar="N", help="of the video, decoded before (%(default)s)"
    )
    parser.add_argument("--fps", type=float, default=15.0, metavar="F", help="of the camera (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of each case (default %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
