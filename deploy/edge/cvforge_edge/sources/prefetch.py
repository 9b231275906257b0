"""Decodes a file's next frames while the model works on the current one."""

from __future__ import annotations

import queue
import threading

from cvforge_edge.frame import Frame
from cvforge_edge.sources.source import Source

FRAMES_AHEAD = 3
POLL_S = 0.1
JOIN_TIMEOUT_S = 0.5


class Prefetch:
    """A source that reads another one, which never waits, on a thread of its own, a few frames ahead and in order."""

    live = False

    def __init__(self, source: Source, *, frames_ahead: int = FRAMES_AHEAD) -> None:
        """Begin to read.

        Args:
            source: a file or folder; its owner closes it after this.
            frames_ahead: most frames that wait in memory.
        """
        self._source = source
        self._queue: queue.Queue[Frame | Exception | None] = queue.Queue(frames_ahead)
        self._stop = threading.Event()
        self.ended = False
        self.name, self.fps, self.frame_count = source.name, source.fps, source.frame_count
        self._thread = threading.Thread(target=self._run, name=f"decode {source.name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames that the source dropped."""
        return self._source.dropped

    def read(self, *, timeout_s: float) -> Frame | None:
        """The next frame, or None when the source has ended or none came in time.

        Raises:
            EdgeError: what the source raised, after all frames before it.
        """
        if self.ended:
            return None
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            self.ended = True
            raise item
        if item is None:
            self.ended = True
        return item

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self.ended = True
        self._stop.set()
        self._thread.join(JOIN_TIMEOUT_S)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        item: Frame | Exception | None = None
        while not self._stop.is_set():
            try:
                item = self._source.read(timeout_s=POLL_S)
            except Exception as error:  # raised again where the frames are read
                item = error
            self._put(item)
            if not isinstance(item, Frame):
                return

    def _put(self, item: Frame | Exception | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
                return
            except queue.Full:
                continue
