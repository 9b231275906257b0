"""What the output `embedding` costs: each file of a bundle with it, against the same file of a bundle without.

    python tools/export.py --run RUN --format onnx,tflite --precision fp32,int8 --output with
    python tools/export.py --run RUN --format onnx,tflite --precision fp32,int8 --output without export.embedding=false
    python benchmarks/embedding_cost.py --with with --without without

Both files are loaded in one process and asked by turns, one thread, and what counts is that thread's own processor time: so
neighbours on the machine disturb little, and both alike. The ratio is the median over rounds of (median time with / median
time without).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from cvforge_edge.backends import BACKENDS, Backend, open_backend
from cvforge_edge.bundle import open_bundle
from cvforge_edge.manifest import ModelFile
from cvforge_edge.postprocess import EMBEDDING

RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
WARM_UP = 10
TURNS = 20
TARGET = 0.01
"""Share of time and of size that the output may cost."""


def main() -> int:
    """Print the table; 1 when a file costs more than the target."""
    options = _parser().parse_args()
    bundles = [open_bundle(options.without), open_bundle(options.with_)]
    assert all(BACKENDS[name].format == form for form, name in RUNTIMES.items())
    if [EMBEDDING in bundle.manifest.outputs for bundle in bundles] != [False, True]:
        print("--without has to be a bundle without the output `embedding`, --with one that has it", file=sys.stderr)
        return 2
    print(f"{platform.machine()}, Python {platform.python_version()}, {options.rounds} rounds of {TURNS} turns")
    print("| file | without ms | with ms | ratio | lowest | highest | without bytes | more bytes |")
    print("|---|---|---|---|---|---|---|---|")
    kept = True
    for plain, more in zip(*(bundle.manifest.models for bundle in bundles), strict=True):
        backends = [
            open_backend(RUNTIMES[model.format], bundle.path_of(model), threads=1)
            for bundle, model in zip(bundles, (plain, more), strict=True)
        ]
        image_u8 = np.random.default_rng(0).integers(0, 256, (1, *bundles[0].manifest.preprocess.size_hw, 3))
        rounds = [_round(backends, image_u8.astype(np.uint8)) for _ in range(options.rounds)]
        kept = _print_row(plain, more, rounds) and kept
    return 0 if kept else 1


def _round(backends: list[Backend], image_u8: np.ndarray) -> tuple[float, float]:
    """Median milliseconds of each, asked by turns."""
    times_ms: tuple[list[float], ...] = ([], [])
    for turn in range(WARM_UP + TURNS):
        for number in (0, 1) if turn % 2 else (1, 0):
            begun_s = time.thread_time()
            backends[number].run(image_u8)
            if turn >= WARM_UP:
                times_ms[number].append((time.thread_time() - begun_s) * 1000)
    return statistics.median(times_ms[0]), statistics.median(times_ms[1])


def _print_row(plain: ModelFile, more: ModelFile, rounds: list[tuple[float, float]]) -> bool:
    without_ms, with_ms = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratios = sorted(after / before for before, after in rounds)
    ratio, bytes_more = statistics.median(ratios), more.size_bytes - plain.size_bytes
    print(
        f"| {more.path} | {without_ms:.2f} | {with_ms:.2f} | {ratio:.3f} | {ratios[0]:.3f} | {ratios[-1]:.3f} | "
        f"{plain.size_bytes} | {bytes_more} ({bytes_more / plain.size_bytes:.2%}) |",
        flush=True,
    )
    return ratio <= 1 + TARGET and bytes_more <= TARGET * plain.size_bytes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What the output `embedding` costs in time and size.")
    parser.add_argument("--with", dest="with_", required=True, type=Path, metavar="BUNDLE", help="has the output")
    parser.add_argument("--without", required=True, type=Path, metavar="BUNDLE", help="export.embedding=false")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
