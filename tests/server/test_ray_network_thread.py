"""The thread of a replica: much to do is no illness, a call that hangs is, and what nobody waits for is not done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from cvforge_edge.errors import BackendError
from cvforge_server.rayserve import network_thread
from cvforge_server.rayserve.network_thread import NetworkThread
from server.ray_requests import run

LONGEST_S = 120.0


class Scene:
    """A thread whose calls end when they are told to, under a clock that is set."""

    def __init__(self) -> None:
        self.now_s, self.probes, self.begun = 0.0, 0, 0
        self.gate = threading.Semaphore(0)
        self.problem: Exception | None = None
        self.thread = NetworkThread(self._probe, longest_call_s=LONGEST_S, clock=lambda: self.now_s)

    def _probe(self) -> None:
        self.probes += 1
        if self.problem is not None:
            raise self.problem

    def call(self) -> int:
        self.begun += 1
        assert self.gate.acquire(timeout=60)
        return self.begun

    async def calls(self, number: int) -> list[asyncio.Task[int]]:
        """So many that wait, the first of which has begun."""
        tasks = [asyncio.ensure_future(self.thread.run(self.call)) for _ in range(number)]
        await until(lambda: self.begun == 1)
        return tasks


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(6000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing came of it")


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(network_thread, "PROBE_S", 0.05)
    scene = Scene()
    yield scene
    scene.gate.release(100)


def test_an_idle_thread_is_asked_each_time(scene: Scene) -> None:
    async def check_twice() -> None:
        await scene.thread.check()
        await scene.thread.check()

    run(check_twice)
    assert scene.probes == 2


def test_a_thread_that_works_off_its_calls_is_well_however_long_they_take_together(scene: Scene) -> None:
    async def work() -> list[int]:
        tasks = await scene.calls(5)
        for number in range(1, 6):
            await until(lambda number=number: scene.begun == number)
            scene.now_s += LONGEST_S - 1
            await scene.thread.check()  # raises nothing
            scene.gate.release()
            await tasks[number - 1]
        await until(lambda: scene.probes == 1)
        return [task.result() for task in tasks]

    assert run(work) == [1, 2, 3, 4, 5]
    assert scene.now_s > 4 * LONGEST_S and scene.probes == 1  # one probe waits at a time


def test_a_call_that_hangs_fails_each_check_until_it_ends(scene: Scene) -> None:
    async def work() -> None:
        (task,) = await scene.calls(1)
        scene.now_s = LONGEST_S
        await scene.thread.check()
        scene.now_s = LONGEST_S + 1
        for _ in range(3):
            with pytest.raises(BackendError, match="hangs: a call takes 121 s, longest_call_s 120"):
                await scene.thread.check()
        scene.gate.release()
        await task
        await until(lambda: scene.probes == 1)
        await scene.thread.check()

    run(work)


def test_a_probe_that_fails_late_is_told_at_the_next_check(scene: Scene) -> None:
    async def work() -> None:
        (task,) = await scene.calls(1)
        scene.problem = BackendError("the device is gone")
        await scene.thread.check()
        scene.gate.release()
        await task
        with pytest.raises(BackendError, match="the device is gone"):
            await scene.thread.check()
        scene.problem = None
        await scene.thread.check()

    run(work)


def test_a_call_that_nobody_waits_for_never_begins(scene: Scene) -> None:
    async def work() -> list[int]:
        tasks = await scene.calls(4)
        for task in tasks[:3]:  # the first of them runs, and ends for nobody
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        scene.gate.release(2)
        return [await tasks[3]]

    assert run(work) == [2]
    assert scene.begun == 2
