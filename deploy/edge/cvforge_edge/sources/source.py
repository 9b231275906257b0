"""What every source of frames offers, whether it is a file, a folder, a camera or a stream."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, runtime_checkable

from cvforge_edge.frame import Frame


class Source(Protocol):
    """A sequence of frames; used as a context manager, so that cameras and files are always released."""

    @property
    def name(self) -> str:
        """What the source is called in messages and results, without passwords."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace and old ones are dropped, as from a camera."""

    @property
    def fps(self) -> float | None:
        """Frames a second as the source states it; None when it does not say."""

    @property
    def frame_count(self) -> int | None:
        """Number of frames of a file as its header states it, images of a folder; None when unknown."""

    @property
    def dropped(self) -> int:
        """Frames that were replaced by a newer one before anybody read them."""

    @property
    def ended(self) -> bool:
        """Whether no further frame will come."""

    def read(self, *, timeout_s: float) -> Frame | None:
        """The next frame, or None when the source has ended or none came in time.

        Raises:
            SourceError: the source is damaged or lost for good.
            ImageError: an image of a folder cannot be decoded.
        """

    def close(self) -> None:
        """Release the file or camera; may be called twice."""

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class PushingSource(Protocol):
    """A source that has a thread of its own and needs no other to read it."""

    def deliver(self, on_frame: Callable[[Frame], None], on_end: Callable[[Exception], None]) -> None:
        """Give every frame to `on_frame` from now on, on the thread of the source, and its failure to `on_end`."""

    def stop(self) -> None:
        """Give no more frames, without waiting for the thread to end."""

    def watch(self) -> None:
        """Look whether frames still come; to be called a few times a second."""
