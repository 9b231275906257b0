"""How far a score would move had other images of the same kind been chosen: the bootstrap over images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge_edge.interval import ScoreInterval

RESAMPLES = 1000
RESAMPLES_BY_DEFINITION = 200
"""For metrics that cannot resample by themselves and are computed anew each time."""
BLOCK = 100  # resamples at once; bounds the memory
SEED = 0
LEVEL = 0.95
MIN_IMAGES = 10
"""Fewer images say too little about images that were not chosen: their intervals come out far too narrow."""

Counts = npt.NDArray[np.int32]
"""(resamples, images): how often each image was drawn, images in the order of their sorted ids."""
Values = npt.NDArray[np.float64]
"""(resamples,): the primary metric of each; NaN where it is undefined."""
Resampler = Callable[[Counts], Values]


def resampled_scores(metric: Any, *, seed: int = SEED, resamples: int | None = None) -> Values | None:
    """The primary metric on sets of as many images, drawn with replacement from those that the metric holds.

    The draws depend on the seed and the number of images alone. So the scores of two models on the same images are pairs,
    and the spread of their differences is that of the models, not of the images.

    Args:
        metric: holds images. `resampler()` is used where it has one, as the metrics of `cvforge.metrics` do; else
            `state()` (a mapping by image id), `merge`, `reset` and `compute`, which is slower.
        seed: of the draws.
        resamples: how many sets; None for 1000, or 200 where each is computed anew.

    Returns:
        One value a set, or None where the metric holds fewer than 10 images or cannot be resampled in either way.
    """
    state = metric.state() if hasattr(metric, "state") else None
    if not isinstance(state, dict) or len(state) < MIN_IMAGES:
        return None
    own = hasattr(metric, "resampler")
    resampler = metric.resampler() if own else resample_by_definition(metric)
    wanted = resamples or (RESAMPLES if own else RESAMPLES_BY_DEFINITION)
    return np.concatenate([resampler(counts) for counts in _draws(len(state), wanted, seed=seed)])


def percentile_interval(values: Values | None, *, level: float = LEVEL) -> ScoreInterval | None:
    """The middle `level` of bootstrapped values, or of differences; undefined ones do not count.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3 (percentile interval).
    """
    defined = values[np.isfinite(values)] if values is not None else np.empty(0)
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return ScoreInterval(float(low), float(high), level)


def resample_by_definition(metric: Any) -> Resampler:
    """Computes any metric of the contract on each resampled set: an image that is drawn twice is there twice."""
    state = metric.state()
    image_ids = sorted(state)
    scratch = copy.deepcopy(metric)

    def scores(counts: Counts) -> Values:
        return np.array([score(row) for row in counts])

    def score(row: npt.NDArray[np.int32]) -> float:
        scratch.reset()
        scratch.merge(
            {
                f"{image_id}#{repeat:04d}": state[image_id]
                for image_id, count in zip(image_ids, row, strict=True)
                for repeat in range(count)
            }
        )
        try:
            return float(scratch.compute()[metric.primary])
        except ValueError:  # how a metric says that it is undefined on these images
            return float("nan")

    return scores


def _draws(images: int, resamples: int, *, seed: int) -> Iterator[Counts]:
    generator = np.random.Generator(np.random.PCG64(seed))
    while resamples > 0:
        rows = min(BLOCK, resamples)
        drawn = generator.integers(0, images, (rows, images), dtype=np.int64)
        counts = [np.bincount(row, minlength=images) for row in drawn]
        yield np.stack(counts).astype(np.int32)
        resamples -= rows
