"""How often a device calls pictures a drift: those of the reference's kind (a false alarm), and others.

    python benchmarks/device_drift.py --bundle BUNDLE --run RUN --split train --other photos/ more_photos/

The reference is in the bundle; pictures of the same kind are those of `--split`, which the reference has not seen. Others are
the same darker, brighter, blurred, noisy, with the light of a bulb, and every folder of `--other`. Each kind is shown in two
ways, in windows drawn at random: varied (as many pictures as there are, each once, half of them a window), and one place (one
picture again and again, which trembles and flickers), as a camera on a wall sees it. The table says which share of the windows
reaches a level, and by which quantities; the most frequent first.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from cvforge.config import build
from cvforge.config.load import load_resolved
from cvforge.evaluation import spread_indices
from cvforge.runs import open_run
from cvforge_edge.evidence.findings import MIN_IMAGES, Finding, compare
from cvforge_edge.evidence.position import DRIFT, OK
from cvforge_edge.image_io import read_image
from cvforge_edge.postprocess import EMBEDDING, postprocess
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.statistics import Statistics

WINDOWS = 100
PLACE_REPEATS = 3
LONGEST_SIDE = 640
TREMBLE_PIXELS = 2
FLICKER_LEVELS = 3
IMAGE_NAMES = (".jpg", ".jpeg", ".png")
MOST_NAMED = 3


def main() -> int:
    """Print the table."""
    options = _parser().parse_args()
    with Predictor.from_bundle(options.bundle, backend=options.backend, precision=options.precision) as predictor:
        manifest = predictor.manifest
        reference = Statistics.from_value(
            manifest.reference_statistics, task=manifest.task, labels=manifest.labels, where=str(options.bundle)
        )
        print(
            f"{manifest.name}: {reference.images} reference pictures, {'with' if reference.embedding else 'no'} embedding\n"
        )
        print("| pictures | shown | windows | drift | notice or drift | by |\n|---|---|---|---|---|---|")
        for name, images in _kinds(options):
            alone = [_measured(predictor, [image], reference) for image in images]
            rng = np.random.default_rng(0)
            half = max(MIN_IMAGES, len(alone) // 2)
            varied = [_joined([alone[i] for i in rng.permutation(len(alone))[:half]]) for _ in range(WINDOWS)]
            _print_row(name, "varied", varied, reference)
            places = [_place(predictor, image, reference) for image in images[: options.places]]
            _print_row(name, "one place", places, reference)
    return 0


def _kinds(options: argparse.Namespace) -> Iterator[tuple[str, list[np.ndarray]]]:
    dataset = build.build_dataset(load_resolved(open_run(options.run).config), options.split)
    images = [_small(dataset[index].image_bgr) for index in spread_indices(len(dataset), options.limit)]
    rng = np.random.default_rng(0)
    yield f"same kind ({options.split})", images
    yield "half as bright", [_scaled(image, (0.5, 0.5, 0.5)) for image in images]
    yield "1.5 times as bright", [_scaled(image, (1.5, 1.5, 1.5)) for image in images]
    yield "bulb light", [_scaled(image, (0.6, 0.85, 1.1)) for image in images]
    yield "blurred", [cv2.GaussianBlur(image, (0, 0), 0.005 * max(image.shape)) for image in images]
    yield "noisy", [np.clip(image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8) for image in images]
    for folder in options.other:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_NAMES)[: options.limit]
        yield folder.name, [_small(read_image(path)) for path in paths]


def _small(image_bgr: np.ndarray) -> np.ndarray:
    scale = LONGEST_SIDE / max(image_bgr.shape)
    return image_bgr if scale >= 1 else cv2.resize(image_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _scaled(image_bgr: np.ndarray, factors: tuple[float, float, float]) -> np.ndarray:
    return np.clip(image_bgr * np.array(factors), 0, 255).astype(np.uint8)


def _place(predictor: Predictor, image_bgr: np.ndarray, reference: Statistics) -> Statistics:
    """A window of one picture that trembles and flickers: a few variants, each as often as makes a window."""
    rng = np.random.default_rng(0)
    height, width = image_bgr.shape[:2]
    variants = []
    for _ in range(PLACE_REPEATS):
        # Whole pixels and whole levels: others would blur or add noise.
        shift = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
        shift[:, 2] = rng.integers(-TREMBLE_PIXELS, TREMBLE_PIXELS + 1, 2)
        moved = cv2.warpAffine(
            image_bgr, shift, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        light = int(rng.integers(-FLICKER_LEVELS, FLICKER_LEVELS + 1))
        variants.append(np.clip(moved.astype(np.int16) + light, 0, 255).astype(np.uint8))
    one = _measured(predictor, variants, reference)
    return _joined([one] * (MIN_IMAGES // PLACE_REPEATS + 1))


def _measured(predictor: Predictor, images: Sequence[np.ndarray], reference: Statistics) -> Statistics:
    manifest = predictor.manifest
    found = Statistics(manifest.task, manifest.labels)
    for image in images:
        input_u8, geometry = manifest.preprocess.apply(image)
        outputs = predictor.raw_outputs(input_u8)
        embedding = outputs.get(EMBEDDING)
        found.add(image, postprocess(outputs, manifest.postprocess, geometry), embedding=embedding)
        if found.embedding is not None and reference.embedding is not None and embedding is not None:
            found.embedding.distances.add(reference.embedding.distance(embedding[None]))
    return found


def _joined(parts: Sequence[Statistics]) -> Statistics:
    window = Statistics(parts[0].prediction.task, tuple(map(str, range(len(parts[0].prediction.classes.totals)))))
    for part in parts:
        window.merge(part)
    return window


def _print_row(name: str, shown: str, windows: Sequence[Statistics], reference: Statistics) -> None:
    findings = [compare(window, reference) for window in windows]
    drifts = float(np.mean([any(finding.level == DRIFT for finding in found) for found in findings]))
    named = float(np.mean([any(finding.level != OK for finding in found) for found in findings]))
    by = Counter(_word(finding) for found in findings for finding in found if finding.level != OK)
    listed = ", ".join(f"{word} {count / len(findings):.0%}" for word, count in by.most_common(MOST_NAMED))
    print(f"| {name} | {shown} | {len(windows)} | {drifts:.0%} | {named:.0%} | {listed} |", flush=True)


def _word(finding: Finding) -> str:
    return f"{finding.quantity} ({finding.level})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How often a device calls pictures a drift.")
    parser.add_argument("--bundle", required=True, type=Path, metavar="BUNDLE", help="with reference statistics")
    parser.add_argument("--run", required=True, type=Path, metavar="RUN", help="says where its pictures are")
    parser.add_argument("--split", default="train", help="pictures that are no reference (default: %(default)s)")
    parser.add_argument("--other", nargs="*", default=[], type=Path, metavar="FOLDER", help="other pictures")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="pictures a kind (default: %(default)s)")
    parser.add_argument("--places", type=int, default=40, metavar="N", help="places a kind (default: %(default)s)")
    parser.add_argument("--backend", metavar="NAME", help="inference runtime (default: the bundle's preferred)")
    parser.add_argument("--precision", metavar="NAME", help="of the file (default: the bundle's first)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
