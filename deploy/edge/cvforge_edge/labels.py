"""The names of the classes, in the order of the network's scores."""

from __future__ import annotations

from collections.abc import Sequence

from cvforge_edge.types import VOID_CLASS_ID

VOID_LABEL = "void"


def label_problems(labels: Sequence[object]) -> list[str]:
    """What is wrong with a list of class names; empty when nothing is.

    Names are unique, not empty, on one line, and without spaces at either end, so that a table or a text file of them
    reads back the same.
    """
    problems = [] if labels else ["labels: found none, accepted at least one class name"]
    first_at: dict[object, int] = {}
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip() or label != label.strip() or not label.isprintable():
            problems.append(f"labels[{index}]: found {label!r}, accepted one line of text without spaces at its ends")
        elif label in first_at:
            problems.append(
                f"labels[{index}]: {label!r} is already labels[{first_at[label]}]; every class needs a name"
            )
        else:
            first_at[label] = index
    return problems


def label_name(labels: Sequence[str], class_id: int) -> str:
    """The name of a class id; `void` for 255, and the number itself where the list is too short."""
    if 0 <= class_id < len(labels):
        return labels[class_id]
    return VOID_LABEL if class_id == VOID_CLASS_ID else f"class {class_id}"
