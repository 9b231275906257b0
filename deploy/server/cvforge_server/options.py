"""What a client may ask for beside its images."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_edge.types import Task
from cvforge_server.errors import Code, RequestError

OPTIONS_HEADER = "X-CVForge-Options"
"""Holds the options of a bare image, written as in an address."""
MASK_FORMS = ("none", "rle", "polygon", "png")
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")
MOST_TOP = 1000
MOST_CLASSES = 10_000
"""Names in `classes`; 30 MB of them would be ten million texts."""
MOST_LISTED = 20
"""Names in one message."""
CONTENT_TYPE_ADVICE = "a body that is an image or JSON needs a Content-Type that says so, not that of a form"


@dataclass(frozen=True)
class RequestOptions:
    """How a request is to be answered.

    Attributes:
        score_threshold: detection: lowest score of an object, 0 to 1; None for that of the bundle.
        classes: detection and classification: labels to be told of; None for all.
        masks: segmentation: form in which the pixels of each class are told, a name in `MASK_FORMS`; `none` leaves them out.
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
        advice = "" if all(map(str.isidentifier, unknown)) else f"; {CONTENT_TYPE_ADVICE}"
        raise RequestError(
            Code.UNKNOWN_OPTION, f"option: found {_listed(unknown)}, accepted {', '.join(_READERS)}{advice}"
        )
    problems, values = [], {}
    for name, value in given.items():
        reader, tasks = _READERS[name]
        if task not in tasks:
            problems.append(f"{name}: has no meaning for {task.value}")
            continue
        try:
            values[name] = reader(value)
        except ValueError as error:
            problems.append(f"{name}: found {shown(value)}, accepted {error}")
    known = set(labels)
    absent = [label for label in values.get("classes") or () if label not in known]
    if absent:
        problems.append(f"classes: found {_listed(absent)}, accepted {_listed(labels)}")
    if problems:
        raise RequestError(Code.BAD_OPTION, "; ".join(problems))
    return RequestOptions(**values)


def shown(value: Any) -> str:
    """What a client sent, for a message: on one line and not too long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fraction(value: Any) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0 <= number <= 1:
        raise ValueError("a number from 0 to 1")
    return number


def _names(value: Any) -> tuple[str, ...]:
    names = value.split(",", MOST_CLASSES) if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("names of classes, separated by commas")
    if len(names) > MOST_CLASSES:
        raise ValueError(f"at most {MOST_CLASSES} names of classes")
    return tuple(names)


def _mask_form(value: Any) -> str:
    if value not in MASK_FORMS:
        raise ValueError(", ".join(MASK_FORMS))
    return str(value)


def _count(value: Any) -> int:
    text = value if isinstance(value, str) else repr(value)
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_TOP:
        raise ValueError(f"a whole number from 1 to {MOST_TOP}")
    return int(text)


def _switch(value: Any) -> bool:
    text = str(value).lower()
    if text not in (*TRUE, *FALSE):
        raise ValueError("true or false")
    return text in TRUE


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(map(shown, names[:MOST_LISTED])) + more


_ALL = tuple(Task)
_READERS: dict[str, tuple[Callable[[Any], Any], tuple[Task, ...]]] = {
    "score_threshold": (_fraction, (Task.DETECTION,)),
    "classes": (_names, (Task.DETECTION, Task.CLASSIFICATION)),
    "masks": (_mask_form, (Task.SEGMENTATION,)),
    "top": (_count, (Task.CLASSIFICATION,)),
    "annotated": (_switch, _ALL),
}
"""By name: how a value is read, and for which tasks it means something."""
OPTION_NAMES = tuple(_READERS)
