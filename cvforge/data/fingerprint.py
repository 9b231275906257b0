"""A short name for exactly the data that a model was trained or scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvforge_edge.types import ClassLabel, Detections, Truth

CONTENT_LIMIT_BYTES = 256 * 2**20
"""Sets whose files are smaller than this together are hashed byte for byte."""
BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class FingerprintEntry:
    """One image of a data set.

    Attributes:
        image_id: unique in the set.
        files: its image, and its mask where there is one.
        truth: digest of its annotation; empty where the files say it all.
    """

    image_id: str
    files: tuple[Path, ...]
    truth: bytes


def fingerprint_entries(labels: tuple[str, ...], entries: Iterable[FingerprintEntry]) -> str:
    """`<method>:<sha256>` over labels, image ids, truths and files; the order of the images does not count.

    The method is named: `v1-contents` has read every byte of every file; `v1-annotations-sizes`, for sets of more than
    256 MiB, has seen all annotations and the name and size of every file, and misses an image whose bytes changed
    while its size did not.
    """
    listed = list(entries)
    sizes = [tuple(path.stat().st_size for path in entry.files) for entry in listed]
    whole = sum(sum(size) for size in sizes) <= CONTENT_LIMIT_BYTES
    digests = []
    for entry, size in zip(listed, sizes, strict=True):
        digest = hashlib.sha256(f"{entry.image_id}\0{size}\0".encode())
        digest.update(entry.truth)
        if whole:
            for path in entry.files:
                digest.update(_file_digest(path))
        digests.append(digest.digest())
    total = hashlib.sha256("\0".join(labels).encode())
    for digest_bytes in sorted(digests):
        total.update(digest_bytes)
    return f"{'v1-contents' if whole else 'v1-annotations-sizes'}:{total.hexdigest()}"


def truth_digest(truth: Truth) -> bytes:
    """A digest of a truth that is held in memory; the order of the objects in an image does not count."""
    if isinstance(truth, ClassLabel):
        return str(truth.class_id).encode()
    if isinstance(truth, Detections):
        return _detections_digest(truth)
    return hashlib.sha256(truth.class_map.tobytes() + str(truth.class_map.shape).encode()).digest()


def _detections_digest(truth: Detections) -> bytes:
    zeros = np.zeros(len(truth), np.float32)
    crowd = zeros if truth.is_crowd is None else truth.is_crowd.astype(np.float32)
    areas = zeros if truth.areas is None else truth.areas
    columns = [*truth.boxes_xyxy.T, truth.class_ids.astype(np.float32), crowd, areas]
    rows = np.stack(columns, axis=1).astype("<f4")
    return hashlib.sha256(b"".join(sorted(row.tobytes() for row in rows))).digest()


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.digest()
