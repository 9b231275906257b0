"""Lists of the images of a bulk prediction: Parquet, a row group for the images of each part.

Paths are kept as the bytes that the file system knows, since a name of a file need not be text.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from cvforge_edge.draft_folder import flush
from cvforge_edge.errors import SourceError
from cvforge_server.bulk.part_name import PartName, list_file
from cvforge_server.bulk.seen import DIGEST_BYTES, Seen

DRAFT_SUFFIX = ".draft"
LOOKED_UP_TOGETHER = 4096
"""Paths that are compared with those of before in one go."""
LOOKED_FOR = 20
"""Of the first images of a list one must be there, or it was made for another place."""
MOST_IMAGES, LEAST_IMAGES = 1000, 8
"""Of a part whose size nobody chose: small enough that a kill costs seconds, and all workers have something to do."""
PARTS_PER_WORKER = 4


def write_list(
    lists: Path, number: int, paths: Iterable[str], *, seen: Seen, workers: int, part_images: int | None
) -> int:
    """Write the paths that never came before as a list, whole or not at all; no list where there are none.

    Args:
        lists: the folder of lists.
        number: of the list.
        paths: absolute; read one by one.
        seen: what lists of before hold; grows.
        workers: among which a short list is divided evenly.
        part_images: of a part; None for a number that fits.

    Returns:
        How many paths the list holds.

    Raises:
        SourceError: none of the first images is there.
        OSError: it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    fresh = _unseen(paths, seen)
    first = list(islice(fresh, MOST_IMAGES * PARTS_PER_WORKER * workers))
    if not first:
        return 0
    if not any(os.path.lexists(path) for path in first[:LOOKED_FOR]):
        raise SourceError(
            f"--source: none of the first {len(first[:LOOKED_FOR])} images is there, for instance {first[0]}; "
            "a list names paths that are absolute, or relative to the current folder"
        )
    size = part_images or min(MOST_IMAGES, max(LEAST_IMAGES, -(-len(first) // (PARTS_PER_WORKER * workers))))
    schema = pa.schema([pa.field("path", pa.binary(), nullable=False)])
    target = lists / list_file(number)
    draft = target.with_name(f".{target.name}{DRAFT_SUFFIX}")
    count = 0
    with parquet.ParquetWriter(draft, schema, compression="zstd", use_dictionary=False) as writer:
        for group in _groups(first, fresh, size):
            writer.write_table(pa.table([[os.fsencode(path) for path in group]], schema=schema), row_group_size=size)
            count += len(group)
    flush(draft)
    draft.replace(target)
    flush(target.parent)
    return count


def read_parts(lists: Path, number: int) -> Iterator[tuple[PartName, list[str]]]:
    """The parts of a list, each with the paths of its images.

    Raises:
        OSError, pyarrow.ArrowException: it cannot be read.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(lists / list_file(number)) as file:
        for group in range(file.num_row_groups):
            yield PartName(number, group), _paths(file.read_row_group(group))


def read_part_paths(lists: Path, name: PartName) -> list[str]:
    """The paths of the images of one part.

    Raises:
        OSError, pyarrow.ArrowException: the list cannot be read.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(lists / list_file(name.list_number)) as file:
        return _paths(file.read_row_group(name.number))


def paths_digest(paths: Sequence[str]) -> str:
    """What stands for the images of a part, in their order."""
    content = b"\0".join(os.fsencode(path) for path in paths)
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _paths(table: object) -> list[str]:
    return [os.fsdecode(path) for path in table.column("path").to_pylist()]  # type: ignore[attr-defined]


def _unseen(paths: Iterable[str], seen: Seen) -> Iterator[str]:
    remaining = iter(paths)
    while together := list(islice(remaining, LOOKED_UP_TOGETHER)):
        yield from seen.add(together)


def _groups(first: list[str], rest: Iterator[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(first), size):
        group = first[start : start + size]
        yield group + list(islice(rest, size - len(group)))
    while group := list(islice(rest, size)):
        yield group
