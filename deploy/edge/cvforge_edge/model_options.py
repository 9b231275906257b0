"""The options of a command that runs a model: which one, on what, and with how much of the processor."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from cvforge_edge.arrangement import Arrangement, available_cores, fastest_arrangement, guessed_arrangement
from cvforge_edge.backends import BACKENDS
from cvforge_edge.errors import UsageError
from cvforge_edge.listed_files import PRECISIONS
from cvforge_edge.option_types import count, fraction
from cvforge_edge.step_options import lowest_score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cvforge_edge.bundle import Bundle
    from cvforge_edge.predictor import Predictor
    from cvforge_edge.running_model import RunningModel
    from cvforge_edge.sessions import FramePredictor
    from cvforge_edge.sources.source import Source

AUTO = "auto"
Watched: TypeAlias = "Callable[[Predictor, Bundle], FramePredictor]"
"""Puts something around a model that looks at its raw outputs."""


def add_model_options(group: argparse._ArgumentGroup) -> None:
    """Which model of the bundle runs, where, and on how many cores."""
    add = group.add_argument
    plain = [name for name, entry in BACKENDS.items() if not entry.by_name_only]
    others = [name for name in BACKENDS if name not in plain]
    backend_help = (
        f"one of {', '.join(plain)} (default: the first that is installed and fits), "
        f"or by name only {', '.join(others)}"
    )
    add("--backend", metavar="NAME", choices=tuple(BACKENDS), help=backend_help)
    add("--precision", choices=PRECISIONS, help="which model of the bundle (default: its first that fits)")
    threads_help = (
        "processor threads of one inference, or auto: measure for some seconds which --sessions and --threads are fastest "
        "together (default: for files 1, for cameras half of the cores)"
    )
    add("--threads", type=_count_or_auto, metavar="N", help=threads_help)
    sessions_help = (
        "copies of the model that work in parallel (default: for files one for each core and at most 4, for cameras one "
        "each)"
    )
    add("--sessions", type=count, metavar="N", help=sessions_help)
    add("--cpus", type=_cpus, metavar="LIST", help="run on these processor cores only, for instance 2,3 or 4-7")
    add("--score-threshold", type=fraction, metavar="S", help="leave out detections below, 0 to 1 (default: bundle's)")


def keep_to_cpus(cpus: frozenset[int] | None) -> None:
    """Keep this process, and every thread that it starts later, to some processor cores; None changes nothing.

    Raises:
        UsageError: the machine has no such core, or its system cannot do that.
    """
    if cpus is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("--cpus: this system cannot keep a process to some cores; only Linux can")
    missing = sorted(cpus - set(range(os.cpu_count() or 1)))
    if missing:
        raise UsageError(f"--cpus: found {', '.join(map(str, missing))}, accepted 0 to {(os.cpu_count() or 1) - 1}")
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise UsageError(f"--cpus: the system refuses these cores: {error.strerror}") from None


def arrange(
    options: argparse.Namespace, model: RunningModel, sources: Sequence[Source], *, say: Callable[[str], None]
) -> Arrangement:
    """Sessions and threads as asked for, measured, or guessed.

    Args:
        options: with `threads`, `sessions` and `max_frames`.
        model: that will run.
        sources: an open one for each camera or file.
        say: told what was measured.

    Raises:
        EdgeError: the model fails.
    """
    cores = available_cores()
    if options.threads == AUTO:
        measured = fastest_arrangement(
            lambda threads: model.open(threads=threads),
            input_hw=model.bundle.manifest.preprocess.size_hw,
            cores=cores,
        )
        say(f"threads: {measured}")
        return measured.best
    counts = [source.frame_count for source in sources]
    frames = options.max_frames if None in counts else min(sum(filter(None, counts)), options.max_frames or sys.maxsize)
    guess = guessed_arrangement(cores, live_sources=sum(source.live for source in sources), frames=frames)
    return Arrangement(options.sessions or (1 if options.threads else guess.sessions), options.threads or guess.threads)


def open_predictors(
    options: argparse.Namespace,
    model: RunningModel,
    arrangement: Arrangement,
    *,
    warm_up: bool,
    watched: Watched | None = None,
) -> list[FramePredictor]:
    """One loaded model for each session.

    Args:
        options: with `roi`, and what `lowest_score` needs.
        model: from which they are loaded.
        arrangement: how many, and with how many threads each.
        warm_up: run each once, so that the first picture of a camera waits no longer than any other.
        watched: puts something around the models that looks at their raw outputs; None for nothing.

    Raises:
        EdgeError: it cannot be loaded.
    """
    import numpy as np

    from cvforge_edge.predictor import Predictor

    manifest = model.bundle.manifest
    spec = replace(manifest.postprocess, score_threshold=lowest_score(options, manifest.postprocess))
    with ExitStack() as on_error:
        predictors: list[FramePredictor] = []
        for _ in range(arrangement.sessions):
            predictor = Predictor(model.open(threads=arrangement.threads), manifest)
            on_error.callback(predictor.close)
            if warm_up:
                predictor.raw_outputs(np.zeros((*manifest.preprocess.size_hw, 3), np.uint8))
            predictor = predictor.with_postprocess(spec)
            seen: FramePredictor = predictor if watched is None else watched(predictor, model.bundle)
            if options.roi is not None:
                from cvforge_edge.region import RegionPredictor, parse_region

                seen = RegionPredictor(seen, parse_region(options.roi))
            predictors.append(seen)
        on_error.pop_all()
    return predictors


def _count_or_auto(text: str) -> int | str:
    return AUTO if text == AUTO else count(text)


def _cpus(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(f"found {text!r}, accepted core numbers as in 0,2 or 4-7")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
