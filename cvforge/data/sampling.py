"""Which images a training epoch shows in which order: a pure function of seed and epoch."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Draw(NamedTuple):
    """One image of an epoch and the seed of its augmentation."""

    index: int
    seed: int


@dataclass(frozen=True)
class EpochPlan:
    """How epochs are cut into batches.

    Every batch is full: the last one is completed with images from the start of the epoch's order, so that no image is
    left out and all processes take the same number of steps. Each image drawn twice has two seeds.

    Attributes:
        length: number of images in the data set.
        batch_size: images in a batch of one process.
        seed: the run's seed.
        world_size: number of processes that share an epoch.
    """

    length: int
    batch_size: int
    seed: int
    world_size: int = 1

    @property
    def batches(self) -> int:
        """Number of batches that each process takes from an epoch."""
        return -(-self.length // (self.batch_size * self.world_size))

    def batches_of(self, epoch: int, *, rank: int = 0, start: int = 0) -> Iterator[list[Draw]]:
        """The batches of one process in one epoch, without the first `start` ones."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        for batch in range(start, self.batches):
            first = (batch * self.world_size + rank) * self.batch_size
            yield [self._draw(order, epoch, position) for position in range(first, first + self.batch_size)]

    def _draw(self, order: np.ndarray, epoch: int, position: int) -> Draw:
        repeat, place = divmod(position, self.length)
        index = int(order[place])
        return Draw(index, stable_seed(self.seed, epoch, index, repeat))


def stable_seed(*parts: int) -> int:
    """A seed in 0 .. 2**63 - 1 that depends on every part, the same on every machine and Python version."""
    digest = hashlib.blake2b(struct.pack(f"<{len(parts)}q", *parts), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def share_of(length: int, *, rank: int, world_size: int) -> list[int]:
    """The indices that one process evaluates; shares are equally long, so the first images may come twice."""
    rounds = -(-length // world_size)
    return [(rank + turn * world_size) % length for turn in range(rounds)]
