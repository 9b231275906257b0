"""Tables and verdicts of `video_throughput.py`."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

OF_BARE = 0.95
"""Least share of the speed of inference alone."""
OF_ULTRALYTICS, OF_ULTRALYTICS_RECTANGULAR, OF_ULTRALYTICS_INT8 = 1.25, 1.5, 2.0
"""Least ratio to Ultralytics' speed: square input, input that fits the picture, int8 TFLite."""
MOST_CPU = 1.05
"""Of one session, in processor times of the hand-written loop."""


@dataclass(frozen=True)
class Run:
    """One run of one contender.

    Attributes:
        fps: frames a second.
        cpu_ms: processor time of all threads for a frame, in milliseconds.
        note: how it was arranged.
    """

    fps: float
    cpu_ms: float
    note: str = ""


def report(rounds: list[dict[str, Run]]) -> str:
    """The table: medians, and each contender's speed as a share of the pipeline's in the same round."""
    lines = [
        "| contender | frames/s | CPU ms a frame | pipeline is so many times as fast | arrangement |",
        "|---|---|---|---|---|",
    ]
    for name in rounds[0]:
        runs = [one[name] for one in rounds]
        ratios = [one["pipeline"].fps / one[name].fps for one in rounds]
        notes = " / ".join(sorted({run.note for run in runs}))
        lines.append(
            f"| {name} | {statistics.median(r.fps for r in runs):.1f} | {statistics.median(r.cpu_ms for r in runs):.2f} | "
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) | {notes} |"
        )
    cpu = [one["one"].cpu_ms / one["loop"].cpu_ms for one in rounds]
    lines.append(
        f"\nCPU time a frame, one session of the pipeline / hand-written loop: {statistics.median(cpu):.3f} "
        f"({min(cpu):.3f} to {max(cpu):.3f})"
    )
    return "\n".join(lines)


def judge(rounds: list[dict[str, Run]], *, int8: bool, square: bool) -> bool:
    """Print which targets the medians reach; whether all."""
    cpu = statistics.median(one["one"].cpu_ms / one["loop"].cpu_ms for one in rounds)
    verdicts = [("of bare inference", _ratio(rounds, "bare"), OF_BARE, True), ("CPU of a loop", cpu, MOST_CPU, False)]
    if "ultralytics" in rounds[0]:
        least = OF_ULTRALYTICS_INT8 if int8 else OF_ULTRALYTICS if square else OF_ULTRALYTICS_RECTANGULAR
        verdicts.append(("of Ultralytics", _ratio(rounds, "ultralytics"), least, True))
    print()
    reached = True
    for name, found, target, at_least in verdicts:
        good = found >= target if at_least else found <= target
        print(
            f"{name}: {found:.3f}, target {'at least' if at_least else 'at most'} {target:g}{'' if good else ' MISSED'}"
        )
        reached = reached and good
    return reached


def _ratio(rounds: list[dict[str, Run]], name: str) -> float:
    return statistics.median(one["pipeline"].fps / one[name].fps for one in rounds)
