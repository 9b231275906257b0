"""What the workers of a bulk prediction are told."""

from __future__ import annotations

from pathlib import Path

from cvforge_edge.records import dataclass
from cvforge_server.bulk.part_name import LISTS, PARTS
from cvforge_server.bulk.settings import BulkSettings


@dataclass(frozen=True)
class BulkJob:
    """What every worker is told.

    Attributes:
        bundle: folder of the bundle, under the same path on every machine.
        output: folder of the results, likewise.
        settings: what decides the results.
        threads: processor threads of a worker.
        batch_size: images that one forward pass takes at most; 1 where the model is not of the batch form.
        redo_errors: whether a part that stands there is done again where it has rows without a prediction.
    """

    bundle: str
    output: str
    settings: BulkSettings
    threads: int = 1
    batch_size: int = 1
    redo_errors: bool = False

    @property
    def lists(self) -> Path:
        """Where the lists of images lie."""
        return Path(self.output) / LISTS

    @property
    def parts(self) -> Path:
        """Where the parts lie."""
        return Path(self.output) / PARTS
