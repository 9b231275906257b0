"""The one thread in which a replica decodes and predicts, and whether it is alive: busy for long is well, hung is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cvforge_edge.errors import BackendError

PROBE_S = 1.0
"""So long a check of health waits for the network; behind requests it may come much later."""

T = TypeVar("T")


class NetworkThread:
    """Runs calls one after the other, and knows how long the present one takes; used from one event loop.

    Args:
        probe: runs the network, or raises; called in the thread.
        longest_call_s: a call that takes longer is taken for hung.
        clock: seconds that only grow.
    """

    def __init__(
        self, probe: Callable[[], None], *, longest_call_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._probe, self._longest_call_s, self._clock = probe, longest_call_s, clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._began_s: float | None = None
        self._probing: asyncio.Future[None] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns; where the caller is cancelled before it has begun, it never begins."""
        return await self._queue(work)

    async def check(self) -> None:
        """Run the probe behind the calls that wait; while they are worked off, the thread is well without its result.

        Raises:
            BackendError: a call hangs.
            Exception: of the probe, of this check or of one before whose result came later.
        """
        if self._probing is None:
            self._probing = self._queue(self._probe)
        await asyncio.wait({self._probing}, timeout=PROBE_S)  # cancels nothing
        if self._probing.done():
            probed, self._probing = self._probing, None
            probed.result()
            return
        began_s = self._began_s
        took_s = 0.0 if began_s is None else self._clock() - began_s
        if took_s > self._longest_call_s:
            raise BackendError(
                f"the network hangs: a call takes {took_s:.0f} s, longest_call_s {self._longest_call_s:g}"
            )

    def _queue(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, self._timed, work)

    def _timed(self, work: Callable[[], T]) -> T:
        self._began_s = self._clock()
        try:
            return work()
        finally:
            self._began_s = None
