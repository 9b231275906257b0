"""Frames that wait for the model: of a camera the newest, of a file the next few, sources by turns."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import field
from functools import partial

from cvforge_edge.errors import PictureError, SourceError
from cvforge_edge.frame import Frame
from cvforge_edge.records import dataclass
from cvforge_edge.sources.source import PushingSource, Source

logger = logging.getLogger(__name__)

FRAMES_AHEAD = 3
"""How many decoded frames of a file wait; of a camera it is one, since a newer one takes its place."""
POLL_S = 0.1
JOIN_TIMEOUT_S = 0.5


@dataclass(frozen=True, eq=False)
class Ticket:
    """A frame that a session works on.

    Attributes:
        source: number of its source.
        number: its place among the frames of that source that got a ticket, from 0: results leave in this order.
        frame: the frame.
    """

    source: int
    number: int
    frame: Frame


@dataclass
class _Lane:
    """What waits of one source.

    Attributes:
        waiting_since_s: `time.monotonic()` since which there are wanted frames and no result; None while none waits.
    """

    source: Source
    frames: deque[Frame] = field(default_factory=deque)
    issued: int = 0
    in_work: int = 0
    dropped: int = 0
    waiting_since_s: float | None = None
    ended: bool = False
    error: Exception | None = None


class Inbox:
    """Takes frames of every source and hands them to sessions: files are read on a thread each, cameras have their own.

    Args:
        sources: open ones; their owner closes them after this.
        in_work: how many frames of all sources together may have a ticket and no result yet: what a slow reader of
            results cannot take stays here, where a camera's newer frame replaces it. By source, every further camera
            would make the frames of all others older.
        max_frames: after so many tickets there are no more; None for no limit.
    """

    def __init__(self, sources: Sequence[Source], *, in_work: int, max_frames: int | None = None) -> None:
        self._lanes = [_Lane(source) for source in sources]
        self._in_work, self._left = in_work, max_frames
        self._turn = 0
        self._news = threading.Condition()
        self._closed = False
        self._pushing = [lane.source for lane in self._lanes if isinstance(lane.source, PushingSource)]
        self._threads = [
            threading.Thread(target=self._read, args=(lane,), name=f"read {lane.source.name}", daemon=True)
            for lane in self._lanes
            if not isinstance(lane.source, PushingSource)
        ]
        for thread in self._threads:
            thread.start()
        for lane in self._lanes:
            if isinstance(lane.source, PushingSource):
                lane.source.deliver(partial(self._put, lane), partial(self._end, lane))

    @property
    def sources(self) -> tuple[Source, ...]:
        """In the order of their numbers."""
        return tuple(lane.source for lane in self._lanes)

    @property
    def dropped(self) -> tuple[int, ...]:
        """By source, frames of a camera that were replaced by a newer one before a session had time."""
        return tuple(lane.dropped + lane.source.dropped for lane in self._lanes)

    @property
    def waiting_since_s(self) -> tuple[float | None, ...]:
        """By source, `time.monotonic()` since which wanted frames wait and no result left; None where none waits."""
        return tuple(lane.waiting_since_s for lane in self._lanes)

    @property
    def exhausted(self) -> bool:
        """Whether every source has ended and each of its frames was finished."""
        with self._news:
            return all(lane.ended and not lane.frames and not lane.in_work for lane in self._lanes)

    @property
    def error(self) -> Exception | None:
        """Why a source ended, if it was not at its end."""
        with self._news:
            return next((lane.error for lane in self._lanes if lane.error is not None), None)

    def take(self) -> Ticket | None:
        """The next frame, as soon as there is one; None when no further one will come."""
        with self._news:
            while not self._closed and self._left != 0:
                ticket = self._next()
                if ticket is not None:
                    self._left = None if self._left is None else self._left - 1
                    self._news.notify_all()  # there is room for one more of its source
                    return ticket
                if all(lane.ended and not lane.frames for lane in self._lanes):
                    break
                self._news.wait()
            return None

    def watch(self) -> None:
        """Look after the cameras; to be called a few times a second."""
        for source in self._pushing:
            source.watch()

    def finish(self, ticket: Ticket) -> None:
        """The result of a ticket has left."""
        with self._news:
            lane = self._lanes[ticket.source]
            lane.in_work -= 1
            lane.waiting_since_s = time.monotonic() if lane.frames or lane.in_work else None
            self._news.notify_all()

    def refuse(self, ticket: Ticket, error: PictureError) -> None:
        """End the source of a ticket, since its pictures are none for this run; its frames that wait are left out.

        A camera may have other pictures when the run is started again, so its error is that of a source.
        """
        lane = self._lanes[ticket.source]
        message = f"{lane.source.name}: frame {ticket.frame.index}: {error}"
        self._end(lane, SourceError(message) if lane.source.live else PictureError(message))
        with self._news:
            lane.frames.clear()
            self._news.notify_all()
        if isinstance(lane.source, PushingSource):
            lane.source.stop()

    def close(self) -> None:
        """Stop reading, and let every waiting session go; may be called twice."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        until_s = time.monotonic() + JOIN_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> Ticket | None:
        """A frame of the source whose turn it is, or of the next one that has any."""
        if sum(lane.in_work for lane in self._lanes) >= self._in_work:
            return None
        for offset in range(len(self._lanes)):
            number = (self._turn + offset) % len(self._lanes)
            lane = self._lanes[number]
            if lane.frames:
                self._turn = number + 1
                lane.issued, lane.in_work = lane.issued + 1, lane.in_work + 1
                return Ticket(number, lane.issued - 1, lane.frames.popleft())
        return None

    def _read(self, lane: _Lane) -> None:
        while not self._closed and not lane.ended:
            try:
                frame = lane.source.read(timeout_s=POLL_S)
            except Exception as error:  # raised again once all frames before it are through
                self._end(lane, error)
                return
            if frame is not None:
                self._put(lane, frame)
            elif lane.source.ended:
                self._end(lane, None)
                return
        if not self._closed:
            lane.source.close()  # refused

    def _put(self, lane: _Lane, frame: Frame) -> None:
        with self._news:
            if self._closed or lane.ended:
                return
            if lane.source.live:
                lane.dropped += len(lane.frames)
                lane.frames.clear()
            else:
                self._news.wait_for(lambda: self._closed or lane.ended or len(lane.frames) < FRAMES_AHEAD)
                if lane.ended:
                    return
            lane.frames.append(frame)
            if lane.waiting_since_s is None:
                lane.waiting_since_s = time.monotonic()
            self._news.notify_all()

    def _end(self, lane: _Lane, error: Exception | None) -> None:
        with self._news:
            if lane.ended and (error is None or lane.error is not None):
                return
            lane.error, lane.ended = error, True
            if error is not None and not all(other.ended for other in self._lanes):
                logger.error("%s; the other sources go on", error)
            self._news.notify_all()
