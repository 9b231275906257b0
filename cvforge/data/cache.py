"""Decoded images kept in memory, shared by all workers of a loader."""

from __future__ import annotations

import mmap
import multiprocessing
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.data.types import Dataset, Sample
from cvforge_edge.types import SegmentationMap, Truth

ABSENT = -1


class ArrayCache:
    """A fixed number of slots for uint8 arrays in one block of memory, first come, first kept.

    Workers that are forked share the block. Where workers are started afresh (macOS, Windows), each gets an empty cache
    with its share of the limit.

    Args:
        slots: how many arrays may be kept.
        limit_bytes: size of the block; memory is taken from the system only as it fills.
    """

    def __init__(self, slots: int, limit_bytes: int) -> None:
        self.slots = slots
        self.limit_bytes = max(1, limit_bytes)
        self.sharers = 1
        self._allocate()

    def get(self, slot: int) -> npt.NDArray[np.uint8] | None:
        """The array in a slot, read-only and without a copy, or None."""
        with self._lock:
            start, *shape = (int(value) for value in self._table[slot])
        if start == ABSENT:
            return None
        height, width, channels = shape
        flat = np.frombuffer(self._block, np.uint8, height * width * max(channels, 1), start)
        flat.flags.writeable = False
        return flat.reshape((height, width, channels) if channels else (height, width))

    def put(self, slot: int, array: npt.NDArray[np.uint8]) -> None:
        """Keep a (h, w) or (h, w, c) array, if it still fits and the slot is free."""
        with self._lock:
            start = int(self._used[0])
            if self._table[slot, 0] != ABSENT or start + array.nbytes > self.limit_bytes:
                return
            channels = array.shape[2] if array.ndim == 3 else 0
            np.frombuffer(self._block, np.uint8, array.nbytes, start)[:] = array.reshape(-1)
            self._table[slot] = (start, array.shape[0], array.shape[1], channels)
            self._used[0] = start + array.nbytes

    def __getstate__(self) -> dict[str, int]:
        return {"slots": self.slots, "limit_bytes": self.limit_bytes // self.sharers}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["slots"], state["limit_bytes"])  # type: ignore[misc]

    def _allocate(self) -> None:
        self._lock = multiprocessing.Lock()
        self._block = mmap.mmap(-1, self.limit_bytes)
        index: Any = mmap.mmap(-1, 8 * (4 * self.slots + 1))
        whole = np.frombuffer(index, np.int64)
        self._table, self._used = whole[:-1].reshape(self.slots, 4), whole[-1:]
        self._table[:, 0] = ABSENT


class CachedDataset:
    """A data set whose decoded images and class maps stay in memory as far as a limit allows.

    Args:
        dataset: where samples come from at first.
        limit_bytes: of decoded images and maps together.
    """

    def __init__(self, dataset: Dataset, *, limit_bytes: int) -> None:
        self.task = dataset.task
        self.labels = dataset.labels
        self.dataset = dataset
        self.cache = ArrayCache(2 * len(dataset), limit_bytes)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """The same sample as the data set's own; its arrays are read-only when they come from memory."""
        image = self.cache.get(2 * index)
        if image is None:
            sample = self.dataset[index]
            self.cache.put(2 * index, sample.image_bgr)
            if isinstance(sample.truth, SegmentationMap):
                self.cache.put(2 * index + 1, sample.truth.class_map)
            return sample
        return Sample(image, self.truth(index), self.dataset.image_id(index))

    def image_id(self, index: int) -> str:
        """As the data set's own."""
        return self.dataset.image_id(index)

    def truth(self, index: int) -> Truth:
        """As the data set's own."""
        class_map = self.cache.get(2 * index + 1)
        return self.dataset.truth(index) if class_map is None else SegmentationMap(class_map)

    def fingerprint(self) -> str:
        """As the data set's own."""
        return self.dataset.fingerprint()
