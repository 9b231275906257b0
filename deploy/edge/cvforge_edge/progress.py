"""A light line about the run: rewritten in place on a terminal, repeated now and then in a log."""

from __future__ import annotations

import time
from typing import TextIO

TERMINAL_EVERY_S = 0.2
LOG_EVERY_S = 10.0


class Progress:
    """Reports how many frames are done and how fast the newest were."""

    def __init__(self, stream: TextIO, *, total: int | None, noun: str = "frame") -> None:
        """Begin.

        Args:
            stream: where the line goes, as a rule standard error.
            total: frames that there will be; None when unknown.
            noun: what a frame is called.
        """
        self._noun = noun
        self._stream = stream
        self._total = total
        self._terminal = stream.isatty()
        self._every_s = TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S
        self._reported_s = time.monotonic()
        self._reported_frames = 0
        self._line_open = False

    def update(self, frames: int) -> None:
        """Report, if the last report is long enough ago."""
        now_s = time.monotonic()
        if now_s - self._reported_s < self._every_s:
            return
        fps = (frames - self._reported_frames) / (now_s - self._reported_s)
        line = progress_line(frames, self._total, fps, noun=self._noun)
        self._stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
        self._line_open = self._terminal
        self._reported_s, self._reported_frames = now_s, frames

    def close(self) -> None:
        """Leave the line clear for what follows."""
        if self._line_open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._line_open = False


def progress_line(frames: int, total: int | None, fps: float, *, noun: str = "frame") -> str:
    """The text of a report.

    >>> progress_line(30, 120, 61.24)
    'frame 30/120  25%  61.2 frames/s'
    """
    if total is None or frames > total:
        return f"{noun} {frames}  {fps:.1f} {noun}s/s"
    return f"{noun} {frames}/{total}  {100 * frames // max(1, total)}%  {fps:.1f} {noun}s/s"
