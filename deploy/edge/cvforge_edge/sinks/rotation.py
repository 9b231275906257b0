"""Files that are set aside when they get too large, so that a run of months fills no disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cvforge_edge.records import dataclass

DEFAULT_KEEP = 5


@dataclass(frozen=True)
class Rotation:
    """When a file is set aside, and how many of those are kept.

    Attributes:
        limit_bytes: no file of lines gets larger, unless a single line is; a video, by what its writer holds back and at most 25
            pictures.
        keep: files set aside, the newest has the number 1; older ones are removed.
    """

    limit_bytes: int
    keep: int = DEFAULT_KEEP


def numbered_last(path: Path, number: int) -> Path:
    """`out.jsonl.1`: what log readers know."""
    return path.with_name(f"{path.name}.{number}")


def numbered_before_suffix(path: Path, number: int) -> Path:
    """`out.1.mp4`: a player goes by the ending."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def set_aside(path: Path, *, keep: int, numbered: Callable[[Path, int], Path] = numbered_last) -> None:
    """Move `out` to number 1, 1 to 2 and so on; killed midway it leaves a gap, which the next move fills.

    Args:
        path: the file; what does not exist, and a device or a pipe, is left alone.
        keep: the highest number; what has it already is replaced.
        numbered: the name of a file with its number.

    Raises:
        OSError: a file cannot be moved.
    """
    if not path.is_file():
        return
    names = [path, *(numbered(path, number) for number in range(1, keep + 1))]
    free = next((place for place, name in enumerate(names) if not name.exists()), keep)
    for place in range(free, 0, -1):
        names[place - 1].replace(names[place])
