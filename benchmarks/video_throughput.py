r"""Frames a second of the camera runtime on a video, beside bare inference, a hand-written loop, and Ultralytics.

    python benchmarks/video_throughput.py --bundle bundles/yolo --video people.mp4
    python benchmarks/video_throughput.py --bundle bundles/yolo --video people.mp4 --ultralytics VENV/bin/python \
        --ultralytics-model yolo.onnx
    python benchmarks/video_throughput.py --bundle int8/bundle --backend litert --precision int8 --video people.mp4 \
        --ultralytics VENV/bin/python --ultralytics-model int8/yolo11n_int8.tflite

Contenders take turns, each in a process of its own, for some rounds; what counts are ratios within one round.

  bare       inference alone, on prepared inputs of frames decoded before, in the best of all arrangements of sessions and threads
  prepared   likewise, with preprocessing and postprocessing of the decoded frames: all but reading and writing
  pipeline   `deploy/edge` as `run_camera.py` runs it, with the arrangement that `--threads auto` finds
  one        the same with one session of as many threads as there are cores
  loop       a hand-written loop on one session: OpenCV reads, letterbox, run, numpy suppression
  ultralytics  `YOLO(file).predict(video, stream=True)` at the size of the bundle, in the given interpreter; never a dependency

The bundle and the file of Ultralytics must be the same network: `tools/export.py import --kind ultralytics` makes a bundle of
its ONNX file, `benchmarks/ultralytics_int8.py` an int8 bundle and its int8 TFLite file of one network. The video is read from
the start until `--frames` frames are done. Start-up and the first ten frames are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from throughput_report import Run, judge, report

EDGE = Path(__file__).resolve().parent.parent / "deploy" / "edge"
CONTENDERS = ("bare", "prepared", "pipeline", "one", "loop")
ULTRALYTICS = "ultralytics"
WARM_UP = 10
DECODED = 200
"""Frames that `bare` and `prepared` hold in memory and go through again and again."""


class Meter:
    """Counts frames from the eleventh on."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, count: int = 1) -> None:
        """So many frames are done."""
        with self._lock:
            self.count += count
            if self.count - count < WARM_UP <= self.count:
                self.first = self.count
                self.begun_s, self.begun_cpu_s = time.perf_counter(), time.process_time()
            self.ended_s, self.ended_cpu_s = time.perf_counter(), time.process_time()

    def result(self, note: str = "") -> Run:
        """Speed and cost since the eleventh frame."""
        frames = self.count - self.first
        return Run(frames / (self.ended_s - self.begun_s), 1000 * (self.ended_cpu_s - self.begun_cpu_s) / frames, note)


def frames_of(video: Path, limit: int) -> Iterator[Any]:
    """Frames of a video, from the start again and again."""
    import cv2

    done = 0
    while done < limit:
        capture = cv2.VideoCapture(str(video))
        while done < limit:
            read, image = capture.read()
            if not read:
                break
            done += 1
            yield image
        capture.release()


def parallel(predictors: list[Any], work: Callable[[Any, int], None], frames: int) -> Run:
    """Each predictor on a thread of its own; frames are numbers that they take by turns."""
    meter, numbers, lock = Meter(), iter(range(frames)), threading.Lock()

    def run(predictor: Any) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(predictor, number)
            meter.add()

    threads = [threading.Thread(target=run, args=(predictor,)) for predictor in predictors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return meter.result()


def open_predictors(options: argparse.Namespace, sessions: int, threads: int) -> list[Any]:
    """Predictors of the bundle."""
    from cvforge_edge.predictor import Predictor

    return [
        Predictor.from_bundle(options.bundle, backend=options.backend, precision=options.precision, threads=threads)
        for _ in range(sessions)
    ]


def run_decoded(options: argparse.Namespace, *, whole: bool) -> Run:
    """`bare` and `prepared`: the best of all arrangements, each for the same number of frames."""
    from cvforge_edge.arrangement import available_cores, candidates

    images = list(frames_of(options.video, min(DECODED, options.frames)))
    best = None
    for arrangement in candidates(available_cores()):
        predictors = open_predictors(options, arrangement.sessions, arrangement.threads)
        inputs = [predictors[0].manifest.preprocess.apply(image)[0] for image in images]

        def bare(predictor: Any, number: int, inputs: list[Any] = inputs) -> None:
            predictor.raw_outputs(inputs[number % len(inputs)])

        def prepared(predictor: Any, number: int) -> None:
            predictor.predict(images[number % len(images)])

        found = parallel(predictors, prepared if whole else bare, options.frames)
        if best is None or found.fps > best.fps:
            best = Run(found.fps, found.cpu_ms, str(arrangement))
    assert best is not None
    return best


def run_pipeline(options: argparse.Namespace, *, one: bool) -> Run:
    """`pipeline` and `one`: the runtime itself."""
    from cvforge_edge.arrangement import Arrangement, available_cores, fastest_arrangement
    from cvforge_edge.camera import open_source
    from cvforge_edge.pipeline import run_pipeline as run

    arrangement = Arrangement(1, available_cores())
    if not one:
        hw = open_predictors(options, 1, 1)[0].manifest.preprocess.size_hw
        found = fastest_arrangement(
            lambda threads: open_predictors(options, 1, threads)[0].backend, input_hw=hw, cores=available_cores()
        )
        arrangement = found.best
    predictors = open_predictors(options, arrangement.sessions, arrangement.threads)
    meter, stop = Meter(), threading.Event()
    while meter.count < options.frames:
        with open_source(str(options.video)) as source:
            left = options.frames - meter.count
            run([source], predictors, sinks=[], stop=stop, max_frames=left, on_frame=lambda _: meter.add())
    return meter.result(str(arrangement))


def run_loop(options: argparse.Namespace) -> Run:
    """`loop`: what a user writes in an afternoon; one thread reads, prepares, runs and suppresses."""
    import cv2
    import numpy as np

    from cvforge_edge.arrangement import available_cores

    predictor = open_predictors(options, 1, available_cores())[0]
    spec, rules = predictor.manifest.preprocess, predictor.manifest.postprocess
    height, width = spec.size_hw
    meter = Meter()
    for image in frames_of(options.video, options.frames):
        scale = min(height / image.shape[0], width / image.shape[1])
        new_h, new_w = round(image.shape[0] * scale), round(image.shape[1] * scale)
        top, left = (height - new_h) // 2, (width - new_w) // 2
        canvas = np.full((height, width, 3), 114, np.uint8)
        canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
        outputs = predictor.backend.run(cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB)[None])
        boxes, scores = outputs["boxes"][0], outputs["scores"][0]
        best = scores.max(axis=1)
        keep = np.flatnonzero(best > rules.score_threshold)
        keep = keep[np.argsort(-best[keep])]
        corners = (boxes[keep] - [left, top, left, top]) / scale
        suppress(corners, rules.iou_threshold)
        meter.add()
    return meter.result(f"1 session of {available_cores()} threads")


def suppress(boxes: Any, threshold: float) -> list[int]:
    """Greedy suppression, the usual twenty lines; boxes are sorted, the surest first."""
    import numpy as np

    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order, kept = np.arange(len(boxes)), []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        top_left = np.maximum(boxes[first, :2], boxes[rest, :2])
        bottom_right = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        inside = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
        order = rest[inside / (areas[first] + areas[rest] - inside) <= threshold]
    return kept


ULTRALYTICS_CODE = """
import json, sys, time
from ultralytics import YOLO
video, file, size, frames, warm_up = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
model, count = YOLO(file, task="detect"), 0
while count < frames:
    for _ in model.predict(video, stream=True, imgsz=size, verbose=False, save=False):
        count += 1
        if count == warm_up:
            begun, cpu = time.perf_counter(), time.process_time()
        if count >= frames:
            break
spent, cpu = time.perf_counter() - begun, time.process_time() - cpu
print(json.dumps({"fps": (count - warm_up) / spent, "cpu_ms": 1000 * cpu / (count - warm_up), "note": "as it comes"}))
"""


def child(options: argparse.Namespace) -> Run:
    """What `--child` runs."""
    import cv2

    cv2.setNumThreads(1)
    kinds: dict[str, Callable[[], Run]] = {
        "bare": lambda: run_decoded(options, whole=False),
        "prepared": lambda: run_decoded(options, whole=True),
        "pipeline": lambda: run_pipeline(options, one=False),
        "one": lambda: run_pipeline(options, one=True),
        "loop": lambda: run_loop(options),
    }
    return kinds[options.child]()


def start(options: argparse.Namespace, contender: str, size: tuple[int, int]) -> Run:
    """Run a contender in a process of its own.

    Raises:
        RuntimeError: it fails.
    """
    if contender == ULTRALYTICS:
        words = [options.video, options.ultralytics_model, json.dumps(size), options.frames, WARM_UP]
        command = [str(options.ultralytics), "-c", ULTRALYTICS_CODE, *map(str, words)]
    else:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", contender]
    environment = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    if ended.returncode != 0:
        raise RuntimeError(f"{contender} ended with code {ended.returncode}: {ended.stderr[-2000:]}")
    return Run(**json.loads(ended.stdout.strip().splitlines()[-1]))


def main() -> int:
    """Let the contenders take turns and print the table."""
    parser = _parser()
    options = parser.parse_args()
    if options.child:
        print(json.dumps(vars(child(options))))
        return 0
    if (options.ultralytics is None) != (options.ultralytics_model is None):
        parser.error("--ultralytics and --ultralytics-model belong together: the interpreter and the file that it runs")
    from cvforge_edge.manifest import read_manifest

    size = read_manifest(options.bundle).preprocess.size_hw
    contenders = [*CONTENDERS, *([ULTRALYTICS] if options.ultralytics else [])]
    rounds: list[dict[str, Run]] = []
    for number in range(options.rounds):
        turn = contenders[number % len(contenders) :] + contenders[: number % len(contenders)]
        found = {name: start(options, name, size) for name in turn}
        rounds.append({name: found[name] for name in contenders})
        print(
            f"round {number + 1}: " + ", ".join(f"{name} {rounds[-1][name].fps:.1f}" for name in contenders),
            file=sys.stderr,
        )
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "onnxruntime", "ai-edge-litert"))
    shape = f"input {size[0]}x{size[1]}"
    print(
        f"{options.bundle.name} {options.precision or ''}, {shape}, {options.video.name}, {options.frames} frames a run"
    )
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}, {options.rounds} rounds\n"
    )
    square = size[0] == size[1]
    print(report(rounds))
    reached = judge(rounds, int8=options.precision == "int8", square=square)
    return 0 if reached else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--bundle", required=True, type=Path, metavar="FOLDER")
    add("--video", required=True, type=Path, metavar="FILE")
    add("--backend", metavar="NAME", help="as of run_camera.py")
    add("--precision", metavar="P", help="as of run_camera.py")
    add("--frames", type=int, default=300, metavar="N", help="of each run (default %(default)s)")
    add("--rounds", type=int, default=5, metavar="N", help="(default %(default)s)")
    add("--ultralytics", type=Path, metavar="PYTHON", help="interpreter of an environment that has ultralytics")
    add("--ultralytics-model", type=Path, metavar="FILE", help="the network for it: .onnx, or .tflite of its exporter")
    add("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.path.insert(0, str(EDGE))
    raise SystemExit(main())
