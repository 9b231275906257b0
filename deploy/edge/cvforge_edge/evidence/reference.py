"""What a bundle says its pictures and answers usually look like."""

from __future__ import annotations

from cvforge_edge.bundle import Bundle
from cvforge_edge.stats.statistics import Statistics


def read_reference(bundle: Bundle) -> Statistics | None:
    """The reference statistics of a bundle; None where it has none.

    Raises:
        BundleError: they cannot be read.
    """
    manifest = bundle.manifest
    if not manifest.reference_statistics:
        return None
    where = f"{bundle.folder}: reference_statistics"
    found = Statistics.from_value(
        manifest.reference_statistics, task=manifest.task, labels=manifest.labels, where=where
    )
    return found if found.images else None
