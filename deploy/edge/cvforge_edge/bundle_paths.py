"""Which paths a bundle may list, so that each names one file inside it on every operating system."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import accumulate


def stays_inside(path: str, *, reserved: Collection[str]) -> bool:
    """Whether a path is relative, in one spelling, and not a reserved name."""
    if not path.isprintable() or "\\" in path or ":" in path or path.casefold() in reserved:
        return False
    return all(part not in ("", ".", "..") for part in path.split("/"))


def clash_problems(paths: Iterable[str], *, reserved: Collection[str]) -> list[str]:
    """Paths that are one file where upper and lower case are alike, or a file here and a folder there."""
    seen: dict[str, str] = {}
    problems = [
        f"files: {path} and {seen[path.casefold()]} are one file on some devices"
        for path in paths
        if seen.setdefault(path.casefold(), path) != path
    ]
    taken = {*seen, *reserved}
    problems += [
        f"files: {path} lies in {parent}, which is a file"
        for folded, path in seen.items()
        for parent in accumulate(folded.split("/")[:-1], "{}/{}".format)
        if parent in taken
    ]
    return problems
