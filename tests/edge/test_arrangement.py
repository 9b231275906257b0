"""Sessions and threads: guessed from what runs, or measured; and what the options for them accept."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cvforge_edge.arrangement import (
    Arrangement,
    Measured,
    available_cores,
    candidates,
    choose,
    fastest_arrangement,
    guessed_arrangement,
)
from cvforge_edge.errors import BackendError, UsageError
from cvforge_edge.model_options import add_model_options, keep_to_cpus


class SleepyModel:
    """Takes a time that depends on its threads, and keeps no core busy, so that figures do not depend on neighbours."""

    open_now: set[int] = set()

    def __init__(self, threads: int, *, seconds_by_threads: dict[int, float]) -> None:
        self.seconds = seconds_by_threads[threads]
        self.inside = threading.Lock()
        SleepyModel.open_now.add(id(self))

    def run(self, image_u8):
        assert self.inside.acquire(blocking=False), "one session ran twice at the same time"
        time.sleep(self.seconds)
        self.inside.release()
        assert image_u8.shape == (1, 8, 16, 3)
        assert image_u8.dtype == np.uint8
        return {}

    def close(self) -> None:
        SleepyModel.open_now.discard(id(self))


@pytest.mark.parametrize(
    ("seconds_by_threads", "best"),
    [
        ({1: 0.04, 2: 0.04, 4: 0.04}, Arrangement(4, 1)),  # threads bring nothing: sessions do
        ({1: 0.04, 2: 0.004, 4: 0.001}, Arrangement(1, 4)),  # threads bring more than sessions can
        ({1: 0.04, 2: 0.01, 4: 0.01}, Arrangement(2, 2)),
    ],
)
def test_the_arrangement_that_runs_most_is_found(seconds_by_threads, best):
    measured = fastest_arrangement(
        lambda threads: SleepyModel(threads, seconds_by_threads=seconds_by_threads),
        input_hw=(8, 16),
        cores=4,
        measure_s=0.2,
    )
    assert measured.best == best
    assert set(measured.runs_per_s) == set(candidates(4))
    assert not SleepyModel.open_now
    assert str(measured).startswith(str(best))


@pytest.mark.parametrize(
    ("runs_per_s", "best"),
    [
        ({Arrangement(1, 1): 100.0, Arrangement(1, 2): 99.0, Arrangement(2, 1): 102.0}, Arrangement(1, 1)),
        ({Arrangement(1, 1): 100.0, Arrangement(1, 2): 110.0, Arrangement(2, 1): 111.0}, Arrangement(1, 2)),
        ({Arrangement(1, 1): 100.0, Arrangement(1, 2): 110.0, Arrangement(2, 1): 120.0}, Arrangement(2, 1)),
    ],
)
def test_nearly_equal_arrangements_are_decided_for_fewer_sessions(runs_per_s, best):
    assert choose(runs_per_s) == best


def test_failure_of_a_model_ends_the_measurement():
    class Broken(SleepyModel):
        def run(self, image_u8):
            raise BackendError("inference failed")

    with pytest.raises(BackendError, match="inference failed"):
        fastest_arrangement(lambda threads: Broken(threads, seconds_by_threads={1: 0, 2: 0}), input_hw=(8, 8), cores=2)
    assert not SleepyModel.open_now


def test_candidates_never_use_more_cores_than_there_are():
    assert candidates(1) == [Arrangement(1, 1)]
    assert candidates(4) == [
        Arrangement(1, 1),
        Arrangement(1, 4),
        Arrangement(2, 1),
        Arrangement(2, 2),
        Arrangement(3, 1),
        Arrangement(4, 1),
    ]
    for cores in range(1, 33):
        assert all(one.sessions * one.threads <= cores and one.sessions <= 8 for one in candidates(cores))


@pytest.mark.parametrize(
    ("cores", "live_sources", "frames", "expected"),
    [
        (4, 0, 1000, Arrangement(4, 1)),  # a file
        (4, 0, 1, Arrangement(1, 1)),  # one photo: a second copy of the model would only cost start and memory
        (32, 0, None, Arrangement(4, 1)),
        (4, 1, None, Arrangement(1, 2)),  # a camera: the newest frame soon, half of the cores for neighbours
        (4, 3, None, Arrangement(3, 1)),
        (1, 1, None, Arrangement(1, 1)),
        (8, 2, None, Arrangement(2, 2)),
    ],
)
def test_guess_without_a_measurement(cores, live_sources, frames, expected):
    assert guessed_arrangement(cores, live_sources=live_sources, frames=frames) == expected


def test_arrangements_read_well():
    assert str(Arrangement(1, 2)) == "1 session of 2 threads"
    measured = Measured(Arrangement(2, 1), {Arrangement(1, 1): 50.4, Arrangement(2, 1): 99.6})
    assert str(measured) == (
        "2 sessions of 1 thread (measured 1 session of 1 thread: 50/s, 2 sessions of 1 thread: 100/s)"
    )


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_options(parser.add_argument_group("model"))
    return parser.parse_args(arguments)


def test_options_take_core_lists_and_auto():
    assert parsed("--cpus", "0,2-4").cpus == {0, 2, 3, 4}
    assert parsed("--threads", "auto").threads == "auto"
    assert parsed("--threads", "3").threads == 3


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "1,,2"])
def test_core_lists_that_mean_nothing_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        parsed(f"--cpus={text}")
    assert "accepted core numbers as in 0,2 or 4-7" in capsys.readouterr().err


def test_process_keeps_to_the_cores_it_was_given():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no processor affinity")
    core = min(os.sched_getaffinity(0))
    code = (
        "import os, sys; from cvforge_edge.model_options import keep_to_cpus; from cvforge_edge.arrangement import "
        f"available_cores; keep_to_cpus(frozenset([{core}])); print(os.sched_getaffinity(0), available_cores())"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert child.stdout.split("\n")[0] == f"{{{core}}} 1"


def test_core_that_the_machine_lacks_is_refused():
    before = available_cores()
    with pytest.raises(UsageError, match="found 4000, accepted 0 to"):
        keep_to_cpus(frozenset([0, 4000]))
    assert available_cores() == before
