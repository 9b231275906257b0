"""One part on disk: written beside its place and put there whole, looked at by its last bytes alone."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cvforge_edge.draft_folder import flush
from cvforge_edge.errors import StorageError
from cvforge_edge.records import dataclass
from cvforge_server.bulk.image_list import DRAFT_SUFFIX, paths_digest
from cvforge_server.bulk.schema import Status

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"cvforge"
ROW_GROUP_IMAGES = 1000


@dataclass(frozen=True)
class PartContent:
    """What a part says about itself in its footer.

    Attributes:
        fingerprint: of the bundle.
        paths: what stands for its images (`paths_digest`).
        statuses: how many images have each status.
    """

    fingerprint: str
    paths: str
    statuses: dict[str, int]


class PartFile:
    """Takes rows and becomes a file when the block that it stands for ends well; otherwise nothing is left.

    Args:
        path: where the part goes; one of the same name is replaced.
        schema: of the rows.
        fingerprint: of the bundle.
        paths: what stands for its images.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, fingerprint: str, paths: str) -> None:
        self._path, self._schema = path, schema
        self._fingerprint, self._paths = fingerprint, paths
        # A name that no other process takes: of a killed run a worker may live a moment longer.
        self._draft = path.with_name(f".{path.name}.{uuid4().hex}{DRAFT_SUFFIX}")
        self._rows: list[dict[str, Any]] = []
        self._statuses: Counter[str] = Counter()

    def __enter__(self) -> PartFile:
        from pyarrow import parquet

        try:
            # Page checksums: readers that look at them notice a disk that lies.
            self._writer = parquet.ParquetWriter(
                self._draft, self._schema, compression="zstd", write_page_checksum=True
            )
        except OSError as error:
            raise self._unwritable(error) from None
        return self

    def add(self, row: dict[str, Any]) -> None:
        """Take the row of one image.

        Raises:
            StorageError: the rows so far cannot be written.
        """
        self._rows.append(row)
        self._statuses[row["status"]] += 1
        if len(self._rows) == ROW_GROUP_IMAGES:
            self._write_rows()

    @property
    def content(self) -> PartContent:
        """What the part says about itself so far."""
        return PartContent(self._fingerprint, self._paths, dict(self._statuses))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            with contextlib.suppress(OSError):  # what went wrong is on its way already
                self._writer.close()
                self._draft.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._write_rows()
        content = self.content
        text = json.dumps(
            {"fingerprint": content.fingerprint, "paths": content.paths, "statuses": content.statuses}, sort_keys=True
        )
        try:
            self._writer.add_key_value_metadata({METADATA_KEY: text.encode()})
            self._writer.close()
            flush(self._draft)
            self._draft.replace(self._path)
            flush(self._path.parent)
        except OSError as error:
            raise self._unwritable(error) from None

    def _write_rows(self) -> None:
        import pyarrow as pa

        if not self._rows:
            return
        try:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        except OSError as error:
            raise self._unwritable(error) from None
        self._rows = []

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._path}: cannot be written ({error.strerror or error}); parts that stand there are intact"
        )


def read_content(path: Path) -> PartContent | None:
    """What a part says about itself; None where it is none, is cut off, or has not the rows that it says."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(path)
        value = json.loads((metadata.metadata or {}).get(METADATA_KEY, b"null"))
        content = PartContent(value["fingerprint"], value["paths"], dict(value["statuses"]))
        return content if sum(content.statuses.values()) == metadata.num_rows else None
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):
        return None


def standing_part(
    path: Path, *, fingerprint: str, paths: Sequence[str], redo_errors: bool = False
) -> PartContent | None:
    """What a part says about itself where it stands there whole and for these images; None where it is to be made.

    Args:
        path: of the part.
        fingerprint: of the bundle.
        paths: of its images.
        redo_errors: whether one with rows that have no prediction is to be made again.
    """
    content = read_content(path)
    if content is None or (content.fingerprint, content.paths) != (fingerprint, paths_digest(paths)):
        return None
    only_ok = set(content.statuses) <= {Status.OK.value}
    return content if only_ok or not redo_errors else None
