"""Whether embeddings tell other pictures from those of the reference: single ones, and windows of twenty.

    python benchmarks/embedding_drift.py --bundle BUNDLE --run RUN --split test --other photos/ more_photos/

The reference is in the bundle. Pictures of the same kind are those of `--split`, which the reference has not seen. Other
ones: the same darker, blurred, noisy, and every folder of `--other`. Printed are the share of pictures further away than
99 % of the reference pictures, and the shift of windows (about 1 for the same kind), drawn at random.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cvforge.config import build
from cvforge.config.load import load_resolved
from cvforge.evaluation import spread_indices
from cvforge.runs import open_run
from cvforge_edge.image_io import read_image
from cvforge_edge.postprocess import EMBEDDING
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.embedding import EmbeddingStatistics
from cvforge_edge.stats.statistics import Statistics

WINDOW = 20
WINDOWS = 30
OUTLIER = 0.99
SHADE = 0.5
BLUR_SHARE = 0.005
NOISE_STEPS = 25.0
LONGEST_SIDE = 640
IMAGE_NAMES = (".jpg", ".jpeg", ".png")


def main() -> int:
    """Print the table."""
    options = _parser().parse_args()
    with Predictor.from_bundle(options.bundle, backend=options.backend, precision=options.precision) as predictor:
        manifest = predictor.manifest
        statistics = Statistics.from_value(
            manifest.reference_statistics, task=manifest.task, labels=manifest.labels, where=str(options.bundle)
        )
        reference = statistics.embedding
        if reference is None:
            print(f"{options.bundle}: has no embedding; export it with export.embedding=true", file=sys.stderr)
            return 2
        limit = reference.distances.quantile(OUTLIER)
        print(f"{OUTLIER:.0%} of {reference.images} reference pictures lie within {limit:.2f}\n")
        print(
            f"| pictures | number | median distance | beyond {limit:.2f} | shift of {WINDOW}: median | lowest | highest |"
        )
        print("|---|---|---|---|---|---|---|")
        for name, images in _kinds(options):
            points = np.stack([_embedding(predictor, image) for image in images])
            _print_row(name, points, reference, limit=limit)
    return 0


def _kinds(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[np.ndarray]]]:
    dataset = build.build_dataset(load_resolved(open_run(options.run).config), options.split)
    images = [_small(dataset[index].image_bgr) for index in spread_indices(len(dataset), options.limit)]
    rng = np.random.default_rng(0)
    yield f"same kind ({options.split})", images
    yield "darker", [(image * SHADE).astype(np.uint8) for image in images]
    yield "blurred", [cv2.GaussianBlur(image, (0, 0), BLUR_SHARE * max(image.shape)) for image in images]
    yield (
        "noisy",
        [np.clip(image + rng.normal(0, NOISE_STEPS, image.shape), 0, 255).astype(np.uint8) for image in images],
    )
    for folder in options.other:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_NAMES)[: options.limit]
        yield folder.name, [_small(read_image(path)) for path in paths]


def _small(image_bgr: np.ndarray) -> np.ndarray:
    scale = LONGEST_SIDE / max(image_bgr.shape)
    return image_bgr if scale >= 1 else cv2.resize(image_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _embedding(predictor: Predictor, image_bgr: np.ndarray) -> Any:
    input_u8, _ = predictor.manifest.preprocess.apply(image_bgr)
    return predictor.raw_outputs(input_u8)[EMBEDDING]


def _print_row(name: str, points: np.ndarray, reference: EmbeddingStatistics, *, limit: float) -> None:
    distances = reference.distance(points)
    rng = np.random.default_rng(0)
    shifts = [reference.shift(_window(points[rng.permutation(len(points))[:WINDOW]])) for _ in range(WINDOWS)]
    print(
        f"| {name} | {len(points)} | {np.median(distances):.2f} | {np.mean(distances > limit):.0%} | "
        f"{np.median(shifts):.2f} | {min(shifts):.2f} | {max(shifts):.2f} |",
        flush=True,
    )


def _window(points: np.ndarray) -> EmbeddingStatistics:
    window = EmbeddingStatistics(points.shape[1])
    for point in points:
        window.merge(EmbeddingStatistics.of(point))
    return window


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Whether embeddings tell other pictures from those of the reference.")
    parser.add_argument("--bundle", required=True, type=Path, metavar="BUNDLE", help="with an embedding")
    parser.add_argument("--run", required=True, type=Path, metavar="RUN", help="says where its pictures are")
    parser.add_argument("--split", default="train", help="pictures that are no reference (default: %(default)s)")
    parser.add_argument("--other", nargs="*", default=[], type=Path, metavar="FOLDER", help="other pictures")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="pictures a kind (default: %(default)s)")
    parser.add_argument("--backend", metavar="NAME", help="inference runtime (default: the bundle's preferred)")
    parser.add_argument("--precision", metavar="NAME", help="of the file (default: the bundle's first)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
