"""Arithmetic on orders of axes: what a transposition becomes on the other side of a reshape."""

from __future__ import annotations

from collections.abc import Sequence


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order of axes that takes another one back.

    >>> inverse((0, 3, 1, 2))
    (0, 2, 3, 1)
    """
    return tuple(order.index(axis) for axis in range(len(order)))


def reshaped(
    base: Sequence[int], order: Sequence[int], target: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """A reshape after a transposition, as a reshape before one.

    Args:
        base: shape of what is transposed.
        order: of its axes.
        target: shape that the result is brought to.

    Returns:
        The shape to bring `base` to, and the order of its axes that then gives `target`; None where memory would have to move
        between the two.

    A map of 64 channels becomes rows of 64, and rows of four times 16:

    >>> reshaped((1, 40, 40, 64), (0, 3, 1, 2), (1, 64, 1600))
    ((1, 1600, 64), (0, 2, 1))
    >>> reshaped((1, 1600, 64), (0, 2, 1), (1, 4, 16, 1600))
    ((1, 1600, 4, 16), (0, 2, 3, 1))
    >>> reshaped((2, 3), (1, 0), (6,)) is None
    True
    """
    groups = _groups([base[axis] for axis in order], target)
    if groups is None:
        return None
    places: list[tuple[int, list[int]]] = []  # where a group lies in base, and its axes of the target
    for before, after in groups:
        sources = [order[axis] for axis in before if base[order[axis]] > 1]
        between = range(min(sources), max(sources) + 1) if sources else ()
        if sources != sorted(sources) or any(base[axis] > 1 for axis in between if axis not in sources):
            return None
        places.append((sources[0] if sources else -1, after))
    axes = [axis for _, after in sorted(places, key=lambda place: place[0]) for axis in after]
    return tuple(target[axis] for axis in axes), inverse(axes)


def _groups(shape: Sequence[int], target: Sequence[int]) -> list[tuple[list[int], list[int]]] | None:
    """Runs of axes of both shapes that hold the same elements, as short as can be."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(shape) or j < len(target):
        before, after = [], []
        left = right = 1
        if i < len(shape):
            left, before, i = shape[i], [i], i + 1
        if j < len(target):
            right, after, j = target[j], [j], j + 1
        while left != right:
            if left < right and i < len(shape):
                left, i = left * shape[i], i + 1
                before.append(i - 1)
            elif right < left and j < len(target):
                right, j = right * target[j], j + 1
                after.append(j - 1)
            else:
                return None
        groups.append((before, after))
    return groups
