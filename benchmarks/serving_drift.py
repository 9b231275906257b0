"""What a server pays for its drift figures and its log: processor time of a measured picture, a judgement, and a line.

    python benchmarks/serving_drift.py --bundle bundles/det_bccd --images BCCD/JPEGImages

Two pictures a second are measured, and one judgement is made a minute, whatever the load; a line is written for each request.
"""

from __future__ import annotations

import argparse
import io
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from cvforge_edge.bundle import open_bundle
from cvforge_edge.image_io import read_image
from cvforge_edge.predictor import Predictor
from cvforge_server.core import Core
from cvforge_server.drift import Drift
from cvforge_server.request import Part
from cvforge_server.request_log import log_reply, write_json_lines

IMAGES, JUDGEMENTS, LINES = 200, 50, 5000


def main() -> int:
    """Measure and print; the exit code."""
    options = _parser().parse_args()
    cv2.setNumThreads(1)
    files = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in (".jpg", ".png"))[:IMAGES]
    bundle = open_bundle(options.bundle)
    now_s = [0.0]
    drift = Drift.of_bundle(bundle, judge_every_s=1.0, clock=lambda: now_s[0])
    if drift is None:
        raise SystemExit(f"{options.bundle}: no reference statistics")
    spec = bundle.manifest.postprocess
    with Predictor.of_bundle(bundle, backend="onnxruntime") as predictor:
        measured = []
        for path in files:
            now_s[0] += 1.0
            image = read_image(path)
            answer = predictor.answer(image)

            def measure(image=image, answer=answer) -> None:
                small = drift.sample(image)
                drift.add(small, answer.outputs, geometry=answer.geometry, spec=spec, prediction=answer.prediction)

            measured.append(cost_ms(measure))

        def judge() -> None:
            now_s[0] += 1.0
            drift.judge_if_due()

        judged = [cost_ms(judge) for _ in range(JUDGEMENTS)]
    for name, costs in (
        ("measured picture", measured),
        ("judgement", judged),
        ("line", [line_ms(options.bundle, files[0])]),
    ):
        print(f"{name}: median {statistics.median(costs):.3f} ms of processor time, {len(costs)} measurements")
    return 0


def line_ms(bundle: Path, image: Path) -> float:
    """One line of the log, on average of many."""
    core = Core.from_bundle(bundle, drift_every_s=0)
    (reply,) = core.answer([[Part("body", image.read_bytes(), "image/jpeg")]], ids=["0b9c"])
    core.close()
    write_json_lines(io.StringIO(), model="m", worker="9000")
    logging.getLogger("cvforge_server").setLevel(logging.INFO)

    def write() -> None:
        for _ in range(LINES):
            log_reply(reply, request_id="0b9c", server_id="0b9c", version=1, bytes_in=20000, bytes_out=2000)

    return cost_ms(write) / LINES


def cost_ms(work: Callable[[], None]) -> float:
    """Processor time of this process."""
    started_s = time.process_time()
    work()
    return (time.process_time() - started_s) * 1000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER", help="with reference statistics")
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="JPEG or PNG")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
