"""What a client may ask for beside its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_edge.types import Task
from cvforge_server.errors import Code, RequestError

MASK_FORMS = ("none", "rle", "polygon", "png")
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")
MOST_TOP = 1000


@dataclass(frozen=True)
class RequestOptions:
    """How a request is to be answered.

    Attributes:
        score_threshold: detection: lowest score of an object, 0 to 1; None for that of the bundle.
        classes: detection and classification: labels to be told of; None for all.
        masks: form of what covers pixels, a name in `MASK_FORMS`; `none` leaves it out.
        top: classification: how many classes, the most probable first.
        annotated: whether the picture with everything drawn into it comes back, as a JPEG in base64.
    """

    score_threshold: float | None = None
    classes: tuple[str, ...] | None = None
    masks: str = "none"
    top: int = 5
    annotated: bool = False


def read_options(given: Mapping[str, Any], *, task: Task, labels: Sequence[str]) -> RequestOptions:
    """Options as a query, a form or JSON has them: values may be text, numbers, booleans or, for `classes`, a list.

    Args:
        given: by name.
        task: of the model; an option that has no meaning for it is refused.
        labels: of the model.

    Raises:
        RequestError: an unknown option, a wrong value, or one that this model has no use for; the message lists every one.
    """
    unknown = [name for name in given if name not in _READERS]
    if unknown:
        raise RequestError(Code.UNKNOWN_OPTION, f"option: found {', '.join(unknown)}, accepted {', '.join(_READERS)}")
    problems, values = [], {}
    for name, value in given.items():
        reader, tasks = _READERS[name]
        if task not in tasks:
            problems.append(f"{name}: has no meaning for {task.value}")
            continue
        try:
            values[name] = reader(value)
        except ValueError as error:
            problems.append(f"{name}: found {_shown(value)}, accepted {error}")
    absent = [label for label in values.get("classes") or () if label not in labels]
    if absent:
        problems.append(f"classes: found {', '.join(absent)}, accepted {', '.join(labels)}")
    if problems:
        raise RequestError(Code.BAD_OPTION, "; ".join(problems))
    return RequestOptions(**values)


def _fraction(value: Any) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number <= 1:
        raise ValueError("a number from 0 to 1")
    return number


def _names(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("names of classes, separated by commas")
    return tuple(names)


def _mask_form(value: Any) -> str:
    if value not in MASK_FORMS:
        raise ValueError(", ".join(MASK_FORMS))
    return str(value)


def _count(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or not 1 <= int(text[:5]) <= MOST_TOP:
        raise ValueError(f"a whole number from 1 to {MOST_TOP}")
    return int(text)


def _switch(value: Any) -> bool:
    text = str(value).lower()
    if text not in (*TRUE, *FALSE):
        raise ValueError("true or false")
    return text in TRUE


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_ALL = tuple(Task)
_READERS: dict[str, tuple[Callable[[Any], Any], tuple[Task, ...]]] = {
    "score_threshold": (_fraction, (Task.DETECTION,)),
    "classes": (_names, (Task.DETECTION, Task.CLASSIFICATION)),
    "masks": (_mask_form, (Task.DETECTION, Task.SEGMENTATION)),
    "top": (_count, (Task.CLASSIFICATION,)),
    "annotated": (_switch, _ALL),
}
"""By name: how a value is read, and for which tasks it means something."""
OPTION_NAMES = tuple(_READERS)
