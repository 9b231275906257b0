"""Paths of the images of a source: a folder with all that are below it, a list in text or Parquet, a pattern, one image."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from cvforge_edge.errors import SourceError, UsageError
from cvforge_edge.sources.names import IMAGE_SUFFIXES

TEXT_SUFFIX, PARQUET_SUFFIX = ".txt", ".parquet"
PATH_COLUMN = "path"
ACCEPTED = (
    "accepted: an image, a folder (searched with all that are below it), a list of paths (.txt with one a line, or .parquet "
    f"with a column {PATH_COLUMN!r}), or a pattern in quotes such as 'photos/**/*.jpg'"
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def list_source(source: str) -> Iterator[str]:
    """Absolute paths, one after the other, so that millions of them need no memory.

    Of a folder or a pattern those with an ending of `IMAGE_SUFFIXES`; of a list every entry, from the current folder where it
    is relative. A path that a list or several links name twice comes twice.

    Args:
        source: as the user gives it.

    Raises:
        SourceError: there is no such source, or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        found = _below(source)
    elif path.is_file():
        found = _of_file(path, source)
    elif glob.has_magic(source) and "://" not in source:
        found = _matching(source)
    else:
        raise SourceError(f"--source {source}: there is no such file or folder; {ACCEPTED}")
    return map(_absolute, found)


def absolute_source(source: str) -> str:
    """What the user means by a source, from whichever folder the next command is given.

    Raises:
        UsageError: it is an address, whose slashes a path would lose.
    """
    if "://" in source and not Path(source).exists():
        raise UsageError(
            f"--source {source}: found an address, accepted: what is on this machine's disks; mount or copy it; {ACCEPTED}"
        )
    return _absolute(source)


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100  Path.absolute leaves `..` in


def _of_file(path: Path, source: str) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return iter([source])
    if suffix == TEXT_SUFFIX:
        return _lines(path)
    if suffix == PARQUET_SUFFIX:
        return _column(path)
    raise SourceError(f"--source {source}: found a file of another kind ({path.suffix or 'no ending'}); {ACCEPTED}")


def _below(folder: str) -> Iterator[str]:
    """Folders behind links are entered as well, each folder once, so that links in a circle end."""
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            status = Path(here).stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                inside = sorted((entry.name, entry.is_dir(), entry.is_file()) for entry in entries)
        except OSError as error:  # an image that nobody can list would be lost without a word
            raise SourceError(f"--source: the folder {here} cannot be read ({error.strerror})") from None
        yield from (os.path.join(here, name) for name, _, is_file in inside if is_file and _is_image(name))  # noqa: PTH118
        waiting += [os.path.join(here, name) for name, is_folder, _ in reversed(inside) if is_folder]  # noqa: PTH118


def _matching(pattern: str) -> Iterator[str]:
    for found in glob.iglob(pattern, recursive=True):  # noqa: PTH207  Path.glob takes no absolute pattern
        path = Path(found)
        if path.suffix.lower() in (TEXT_SUFFIX, PARQUET_SUFFIX) and path.is_file():
            yield from _of_file(path, found)
        elif _is_image(found) and path.is_file():
            yield found


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                text = (line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line).strip(b"\r\n")
                if text.strip():
                    yield os.fsdecode(text)
    except OSError as error:
        raise SourceError(f"--source {path}: cannot be read ({error.strerror})") from None


def _column(path: Path) -> Iterator[str]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            kind = file.schema_arrow.field(PATH_COLUMN).type if PATH_COLUMN in names else None
            if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                columns = ", ".join(f"{field.name} ({field.type})" for field in file.schema_arrow)
                raise SourceError(f"--source {path}: found the columns {columns}; accepted {PATH_COLUMN!r} with text")
            for batch in file.iter_batches(columns=[PATH_COLUMN]):
                if batch.column(0).null_count:
                    raise SourceError(f"--source {path}: the column {PATH_COLUMN!r} has empty rows; remove them")
                yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"--source {path}: cannot be read as Parquet ({error})") from None


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)
