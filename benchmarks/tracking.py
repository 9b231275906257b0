"""How well objects keep their ids on generated sequences with known truth, and what that costs a frame.

    python benchmarks/tracking.py
    python benchmarks/tracking.py --seeds 3 --peers        # side by side with the trackers of pip install trackers

`motmetrics` scores; the sequences are described in `generated_tracks.py`. Peers get the same detections in the same order,
one tracker for each class, the same threshold, the same memory of 2 s, and the time of each frame. The cost is processor
time of the tracker alone, the median over frames of sequences with 20 objects.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from cvforge_edge.steps.tracker import Tracker
from cvforge_edge.steps.tracking_defaults import KEEP_LOST_S, LOWEST_SCORE
from cvforge_edge.types import Detections
from generated_tracks import LEVELS, Level, Moment, Scores, generate, score

SCORE_THRESHOLD = 0.5
TARGET_MS = 1.0
COST_LEVEL = Level(20, 300, (25.0,), 0.0, 0.10, 0.04, 0.5, 0.1, 0.8)
IDS_A_CLASS = 100_000
PEERS = ("ByteTrackTracker", "OCSORTTracker", "CBIoUTracker")
Track = Callable[[Moment], Detections]


def ours() -> Track:
    """The tracker of the device runtime."""
    tracker = Tracker(score_threshold=SCORE_THRESHOLD)
    return lambda moment: tracker.track(moment.found, time_s=moment.time_s)


def peer(name: str, classes: int) -> Track:
    """A tracker of the package `trackers` by its class name, one for each class of objects."""
    package, supervision = importlib.import_module("trackers"), importlib.import_module("supervision")
    settings = {
        "ByteTrackTracker": {"track_activation_threshold": SCORE_THRESHOLD, "high_conf_det_threshold": SCORE_THRESHOLD},
        "OCSORTTracker": {"high_conf_det_threshold": SCORE_THRESHOLD},
        "CBIoUTracker": {"track_activation_threshold": SCORE_THRESHOLD, "high_conf_det_threshold": SCORE_THRESHOLD},
    }[name]
    make = getattr(package, name)
    rate = 30.0
    trackers = [make(lost_track_buffer=round(KEEP_LOST_S * rate), frame_rate=rate, **settings) for _ in range(classes)]

    def track(moment: Moment) -> Detections:
        parts = []
        for class_id, tracker in enumerate(trackers):
            found = moment.found.select((moment.found.class_ids == class_id) & (moment.found.scores >= LOWEST_SCORE))
            given = supervision.Detections(xyxy=found.boxes_xyxy, confidence=found.scores, class_id=found.class_ids)
            tracked = tracker.update(given, timestamp=moment.time_s)
            ids = np.zeros(0, np.int64) if tracked.tracker_id is None else tracked.tracker_id.astype(np.int64)
            known = ids >= 0
            parts.append((tracked.xyxy[known], tracked.confidence[known], ids[known] + class_id * IDS_A_CLASS))
        boxes, scores, ids = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Detections(
            boxes.astype(np.float32).reshape(-1, 4), scores.astype(np.float32), ids // IDS_A_CLASS, track_ids=ids
        )

    return track


def cost_ms(make: Callable[[], Track], seeds: range) -> float:
    """Median processor time of a frame."""
    times_ms = []
    for seed in seeds:
        track = make()
        for moment in generate(COST_LEVEL, seed=seed):
            begun_s = time.process_time()
            track(moment)
            times_ms.append((time.process_time() - begun_s) * 1000)
    return statistics.median(times_ms)


def print_scores(name: str, level: str, scores: list[Scores]) -> None:
    """One row of the table: means over the seeds, and the spread of IDF1."""
    mota, idf1 = [one.mota for one in scores], [one.idf1 for one in scores]
    sums = [statistics.mean(getattr(one, key) for one in scores) for key in ("switches", "misses", "false_positives")]
    print(
        f"{level:14} {name:18} {statistics.mean(mota):6.3f} {statistics.mean(idf1):6.3f} "
        f"{min(idf1):6.3f} {max(idf1):6.3f} {sums[0]:8.1f} {sums[1]:8.1f} {sums[2]:8.1f}",
        flush=True,
    )


def main() -> int:
    """Print both tables; 1 when the cost is above the target."""
    options = _parser().parse_args()
    seeds = range(options.seeds)
    packages = ("numpy", "motmetrics", *(("trackers", "supervision", "scipy") if options.peers else ()))
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}, {options.seeds} seeds\n")
    makers: dict[str, Callable[[], Track]] = {"cvforge_edge": ours}
    for name in PEERS if options.peers else ():
        makers[name] = lambda name=name: peer(name, LEVELS["easy"].classes)  # type: ignore[misc]
    print(
        f"{'level':14} {'tracker':18} {'MOTA':>6} {'IDF1':>6} {'lowest':>6} {'best':>6} {'switches':>8} misses false boxes"
    )
    for level_name, level in LEVELS.items():
        sequences = [generate(level, seed=seed) for seed in seeds]
        for name, make in makers.items():
            print_scores(name, level_name, [score(moments, make()) for moments in sequences])
    costs = {name: cost_ms(make, seeds[: options.cost_seeds]) for name, make in makers.items()}
    print()
    for name, cost in costs.items():
        print(f"{name:18} {cost:6.2f} ms a frame with {COST_LEVEL.objects} objects")
    reached = costs["cvforge_edge"] < TARGET_MS
    print(f"target {TARGET_MS} ms: {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Scores and cost of the tracker on generated sequences.")
    parser.add_argument(
        "--seeds", type=int, default=10, metavar="N", help="sequences of each level (default %(default)s)"
    )
    parser.add_argument(
        "--cost-seeds", type=int, default=3, metavar="N", help="sequences that are timed (default %(default)s)"
    )
    parser.add_argument("--peers", action="store_true", help="also the trackers of: pip install trackers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
