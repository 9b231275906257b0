"""Which of many millions of paths have come before, in 16 bytes each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

DIGEST_BYTES = 16
MERGED_TOGETHER = 65_536


class Seen:
    """A growing set of paths, kept as digests (BLAKE2b, 128 bit: two paths with one digest are not to be expected).

    The newest are in a set of Python; when they are `MERGED_TOGETHER` they join the others in one sorted array.
    """

    def __init__(self) -> None:
        self._sorted = np.zeros(0, f"S{DIGEST_BYTES}")
        self._newest: set[bytes] = set()

    def add(self, paths: Sequence[str]) -> list[str]:
        """Those of `paths` that never came before, in their order, each once; from now on they have come."""
        digests = [path_digest(path) for path in paths]
        fresh = []
        for path, digest, is_old in zip(paths, digests, self._among_sorted(digests), strict=True):
            if not is_old and digest not in self._newest:
                self._newest.add(digest)
                fresh.append(path)
        if len(self._newest) >= MERGED_TOGETHER:
            newest = np.sort(np.array(list(self._newest), self._sorted.dtype))
            # Sorting two sorted runs is a merge: the kind "stable" notices them.
            self._sorted = np.sort(np.concatenate([self._sorted, newest]), kind="stable")
            self._newest = set()
        return fresh

    def _among_sorted(self, digests: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        if not len(self._sorted):
            return np.zeros(len(digests), bool)
        wanted = np.array(digests, self._sorted.dtype)
        places = np.searchsorted(self._sorted, wanted).clip(max=len(self._sorted) - 1)
        return np.asarray(self._sorted[places] == wanted)


def path_digest(path: str) -> bytes:
    """What stands for a path."""
    return hashlib.blake2b(os.fsencode(path), digest_size=DIGEST_BYTES).digest()
