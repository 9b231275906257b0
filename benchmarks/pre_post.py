"""What surrounds the network costs: from a 640x480 picture to its input of 320x320, and from raw outputs to boxes.

    python benchmarks/pre_post.py
    python benchmarks/pre_post.py --ultralytics VENV/bin/python --rounds 15

One thread. Contenders take turns, each in a process of its own; the figure of a round is the fastest of some repetitions of 200
calls. All get the same picture and the same raw outputs: 2100 places, 80 classes, 20 objects with 8 overlapping candidates each.

  cvforge       `Manifest.preprocess.apply` and `postprocess` of the device runtime
  hand-written  letterbox by OpenCV, suppression in numpy, as a loop of an afternoon has it
  ultralytics   its LetterBox, conversion to a tensor, `non_max_suppression` and `scale_boxes`, in the given interpreter

Whether all find the same boxes is checked: largest difference of a corner in pixels.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EDGE = Path(__file__).resolve().parent.parent / "deploy" / "edge"
SIZE, PICTURE_HW = 320, (480, 640)
THRESHOLD, OVERLAP, MOST = 0.3, 0.6, 300
CALLS, REPETITIONS = 200, 5
PLACES, CLASSES, OBJECTS, CANDIDATES = 2100, 80, 20, 8


def scene() -> tuple[Any, Any, Any]:
    """A picture (480, 640, 3) uint8, boxes (2100, 4) in input pixels, and scores (2100, 80)."""
    import numpy as np

    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*PICTURE_HW, 3), dtype=np.uint8)
    centres, sides = rng.uniform([40, 80], [280, 240], (PLACES, 2)), rng.uniform(20, 60, (PLACES, 2))
    boxes = np.hstack([centres - sides / 2, centres + sides / 2]).astype(np.float32)
    scores = (rng.random((PLACES, CLASSES)) * 0.05).astype(np.float32)
    places = rng.permutation(PLACES)[: OBJECTS * CANDIDATES].reshape(OBJECTS, CANDIDATES)
    for number, group in enumerate(places):
        boxes[group] = boxes[group[0]] + rng.normal(0, 1, (CANDIDATES, 4)).astype(np.float32)
        scores[group, number * 3] = rng.uniform(0.35, 0.95, CANDIDATES)
    return picture, boxes, scores


def fastest_ms(work: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    best = float("inf")
    for _ in range(REPETITIONS):
        begun_s = time.perf_counter()
        for _ in range(CALLS):
            work()
        best = min(best, time.perf_counter() - begun_s)
    return 1000 * best / CALLS


def run_cvforge(picture: Any, boxes: Any, scores: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Preprocessing, and postprocessing that gives (n, 4) boxes."""
    from cvforge_edge.postprocess import PostprocessSpec, postprocess
    from cvforge_edge.preprocess import PreprocessSpec

    spec = PreprocessSpec((SIZE, SIZE))
    rules = PostprocessSpec("detection_nms", score_threshold=THRESHOLD, iou_threshold=OVERLAP, max_detections=MOST)
    geometry = spec.geometry(PICTURE_HW)
    outputs = {"boxes": boxes, "scores": scores}
    return lambda: spec.apply(picture), lambda: postprocess(outputs, rules, geometry).boxes_xyxy  # type: ignore[union-attr]


def run_hand_written(picture: Any, boxes: Any, scores: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same by hand."""
    import cv2
    import numpy as np

    scale = min(SIZE / PICTURE_HW[0], SIZE / PICTURE_HW[1])
    inner_h, inner_w = round(PICTURE_HW[0] * scale), round(PICTURE_HW[1] * scale)
    top, left = (SIZE - inner_h) // 2, (SIZE - inner_w) // 2

    def prepare() -> Any:
        canvas = np.full((SIZE, SIZE, 3), 114, np.uint8)
        canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(picture, (inner_w, inner_h))
        return cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB)[None]

    def finish() -> Any:
        best, class_ids = scores.max(axis=1), scores.argmax(axis=1)
        chosen = np.flatnonzero(best >= THRESHOLD)
        chosen = chosen[np.argsort(-best[chosen])]
        corners = np.clip((boxes[chosen] - [left, top, left, top]) / scale, 0, [640, 480, 640, 480])
        shifted = corners + class_ids[chosen, None] * 10_000.0
        areas = (shifted[:, 2] - shifted[:, 0]) * (shifted[:, 3] - shifted[:, 1])
        order, kept = np.arange(len(shifted)), []
        while order.size:
            first, rest = order[0], order[1:]
            kept.append(first)
            low, high = (
                np.maximum(shifted[first, :2], shifted[rest, :2]),
                np.minimum(shifted[first, 2:], shifted[rest, 2:]),
            )
            inside = np.clip(high - low, 0, None).prod(axis=1)
            order = rest[inside / (areas[first] + areas[rest] - inside) <= OVERLAP]
        return corners[kept]

    return prepare, finish


def run_ultralytics(picture: Any, boxes: Any, scores: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same by Ultralytics, step by step as its predictor takes them."""
    import numpy as np
    import torch
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils import ops

    try:
        from ultralytics.utils.nms import non_max_suppression
    except ImportError:
        non_max_suppression = ops.non_max_suppression
    torch.set_num_threads(1)
    letterbox = LetterBox((SIZE, SIZE), auto=False)
    centred = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])
    raw = torch.from_numpy(np.hstack([centred, scores]).T[None].copy())

    def prepare() -> Any:
        image = letterbox(image=picture)
        image = np.ascontiguousarray(np.stack([image])[..., ::-1].transpose((0, 3, 1, 2)))
        return torch.from_numpy(image).float() / 255

    def finish() -> Any:
        found = non_max_suppression(raw.clone(), THRESHOLD, OVERLAP, max_det=MOST)[0]
        return ops.scale_boxes((SIZE, SIZE), found[:, :4], PICTURE_HW).numpy()

    return prepare, finish


TARGET_MS = 0.7
CONTENDERS = {"cvforge": run_cvforge, "hand-written": run_hand_written, "ultralytics": run_ultralytics}


def child(name: str, inputs: Path) -> dict[str, Any]:
    """What `--child` runs: milliseconds before and after the network, and the boxes."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    with np.load(inputs) as arrays:
        prepare, finish = CONTENDERS[name](arrays["picture"], arrays["boxes"], arrays["scores"])
    for _ in range(20):
        prepare(), finish()
    return {"pre_ms": fastest_ms(prepare), "post_ms": fastest_ms(finish), "boxes": np.asarray(finish()).tolist()}


def start(name: str, inputs: Path, interpreter: Path) -> dict[str, Any]:
    """Run a contender in a process of its own.

    Raises:
        RuntimeError: it fails.
    """
    command = [str(interpreter), __file__, "--child", name, "--inputs", str(inputs)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if ended.returncode != 0:
        raise RuntimeError(f"{name} ended with code {ended.returncode}: {ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def farthest(a: list[list[float]], b: list[list[float]]) -> float:
    """Largest difference of a corner in pixels between two sets of boxes, each box paired with its nearest."""
    import numpy as np

    if len(a) != len(b):
        return float("inf")
    distances = np.abs(np.asarray(a)[:, None] - np.asarray(b)[None]).max(axis=2)
    return float(max(distances.min(axis=1).max(), distances.min(axis=0).max()))


def main() -> int:
    """Let the contenders take turns and print the table."""
    options = _parser().parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.inputs)))
        return 0
    import numpy as np

    interpreters = {name: Path(sys.executable) for name in ("cvforge", "hand-written")}
    if options.ultralytics:
        interpreters["ultralytics"] = options.ultralytics
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npz"
        np.savez(inputs, **dict(zip(("picture", "boxes", "scores"), scene(), strict=True)))
        rounds = [{n: start(n, inputs, interpreters[n]) for n in interpreters} for _ in range(options.rounds)]
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, {options.rounds} rounds\n"
    )
    print("| contender | before, ms | after, ms | both, ms | times cvforge | boxes | farthest corner, px |")
    print("|---|---|---|---|---|---|---|")
    for name in interpreters:
        runs = [one[name] for one in rounds]
        both = [run["pre_ms"] + run["post_ms"] for run in runs]
        ratios = [
            own / (one["cvforge"]["pre_ms"] + one["cvforge"]["post_ms"]) for own, one in zip(both, rounds, strict=True)
        ]
        pre, post = (statistics.median(run[key] for run in runs) for key in ("pre_ms", "post_ms"))
        spread = f"{statistics.median(both):.3f} ({min(both):.3f} to {max(both):.3f})"
        distance = farthest(rounds[0]["cvforge"]["boxes"], runs[0]["boxes"])
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {pre:.3f} | {post:.3f} | {spread} | {ratio} | {len(runs[0]['boxes'])} | {distance:.3f} |")
    ours = statistics.median(one["cvforge"]["pre_ms"] + one["cvforge"]["post_ms"] for one in rounds)
    print(f"\ncvforge: {ours:.3f} ms, target at most {TARGET_MS:g}{'' if ours <= TARGET_MS else ' MISSED'}")
    return 0 if ours <= TARGET_MS else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="(default %(default)s)")
    parser.add_argument(
        "--ultralytics", type=Path, metavar="PYTHON", help="interpreter of an environment that has ultralytics"
    )
    parser.add_argument("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.path.insert(0, str(EDGE))
    raise SystemExit(main())
