"""Places for results that belong to one source each: a video, a folder or a window of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cvforge_edge.errors import UsageError
from cvforge_edge.frame import Result
from cvforge_edge.sinks.sink import Sink
from cvforge_edge.sinks.tended import Tended
from cvforge_edge.sources.source import Source

_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class BySource:
    """Hands each result to the sink of its source.

    Args:
        sinks: one for each source, in the order of the sources.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def write(self, result: Result) -> None:
        """Hand a result on.

        Raises:
            StorageError: its sink cannot store it.
        """
        self._sinks[result.camera].write(result)

    def tend(self) -> None:
        """Look after those that want it.

        Raises:
            StorageError: one of them cannot store what it took earlier.
        """
        for sink in self._sinks:
            if isinstance(sink, Tended):
                sink.tend()

    def close(self) -> None:
        """Close all of them, also after an error of one.

        Raises:
            StorageError: one of them is not complete on the disk.
        """
        errors = []
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def summary(self) -> str:
        """A line for each."""
        return "\n  ".join(sink.summary() for sink in self._sinks)


def file_names(sources: Sequence[Source]) -> list[str]:
    """What stands for each source in names of files: its name, without what a file system or a shell may not like.

    Raises:
        UsageError: two sources would get the same.
    """
    names = [_file_name(source) for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"--save: {', '.join(twice)}: would be the file name of more than one source; give each a name: "
            "--source door=SOURCE --source yard=SOURCE"
        )
    return names


def place_of(save: str, name: str, *, video_suffixes: Sequence[str]) -> str:
    """Where `--save` puts the pictures of one of several sources.

    >>> place_of("out.mp4", "door", video_suffixes=(".mp4",)), place_of("pictures", "door", video_suffixes=(".mp4",))
    ('out-door.mp4', 'pictures/door/')
    """
    path = Path(save)
    if path.suffix.lower() in video_suffixes:
        return str(path.with_name(f"{path.stem}-{name}{path.suffix}"))
    return f"{path / name}/"


def _file_name(source: Source) -> str:
    path: Path | None = getattr(source, "path", None)
    text = (
        path.stem
        if path is not None and source.name == str(path)
        else source.name.rpartition("://")[2].rpartition("@")[2]
    )
    return _NOT_IN_FILE_NAMES.sub("_", text).strip("._") or "source"
