"""What a search looks like: its history, the course of each trial, and the scores over every parameter."""

from __future__ import annotations

from cvforge.tune.axis import Axis, linear_axis, log_axis, name_axis
from cvforge.tune.chart import Line, Point, chart
from cvforge.tune.space import Choice, Parameter
from cvforge.tune.summary import TrialRecord

WIDE, SMALL = (900, 320), (430, 270)


def history(found: list[TrialRecord], primary: str) -> str | None:
    """The score of every trial, and the best so far; None where there is none."""
    scored = [record for record in found if record.score is not None]
    if not scored:
        return None
    line: list[tuple[float, float]] = []
    for record in scored:
        if record.state != "complete":
            continue
        best = max(record.score or 0.0, line[-1][1]) if line else record.score or 0.0
        line += [(record.number, line[-1][1])] if line else []
        line.append((record.number, best))
    return chart(
        f"{primary} of each trial, in order",
        linear_axis([record.number for record in found], whole=True),
        _score_axis(scored),
        x_label="trial",
        y_label=primary,
        points=[_point(record, record.number) for record in scored],
        lines=[Line(tuple(line), "best", "best so far")] if line else [],
        size_wh=WIDE,
    )


def courses(found: list[TrialRecord], primary: str) -> str | None:
    """The score of each trial epoch by epoch, with a dot where one was given up; None where no trial has two epochs."""
    shown = [record for record in found if record.history]
    if all(len(record.history) < 2 for record in shown):
        return None
    scores = [score for record in shown for _, score in record.history]
    epochs = [epoch for record in shown for epoch, _ in record.history]
    kinds = {"complete": "complete", "pruned": "pruned"}
    ends = [Point(*record.history[-1], "pruned", _title(record)) for record in shown if record.state == "pruned"]
    return chart(
        f"{primary} of each trial, epoch by epoch",
        linear_axis(epochs, whole=True),
        linear_axis(scores),
        x_label="epoch",
        y_label=primary,
        points=ends,
        lines=[Line(r.history, kinds.get(r.state, "failed"), _title(r)) for r in shown],
        size_wh=WIDE,
    )


def slices(found: list[TrialRecord], parameters: list[Parameter], primary: str) -> list[str]:
    """For every parameter the scores over its values."""
    scored = [record for record in found if record.score is not None]
    return [_slice(scored, parameter, primary) for parameter in parameters] if scored else []


def _slice(scored: list[TrialRecord], parameter: Parameter, primary: str) -> str:
    key = parameter.key
    axis = _value_axis(parameter)
    if isinstance(parameter.values, Choice):
        places = [float(parameter.values.texts.index(record.params[key])) for record in scored]
    else:
        places = [float(record.params[key]) for record in scored]
    return chart(
        f"{primary} over {key}",
        axis,
        _score_axis(scored),
        x_label=key,
        y_label=primary,
        points=[_point(record, place) for record, place in zip(scored, places, strict=True)],
        size_wh=SMALL,
    )


def _value_axis(parameter: Parameter) -> Axis:
    values = parameter.values
    if isinstance(values, Choice):
        return name_axis(values.texts)
    ends = [values.low, values.high]
    return log_axis(ends) if values.log else linear_axis(ends, whole=values.whole)


def _score_axis(scored: list[TrialRecord]) -> Axis:
    return linear_axis([record.score for record in scored if record.score is not None])


def _point(record: TrialRecord, place: float) -> Point:
    return Point(place, record.score or 0.0, "complete" if record.state == "complete" else "pruned", _title(record))


def _title(record: TrialRecord) -> str:
    words = " ".join(f"{key}={value}" for key, value in record.params.items())
    score = "" if record.score is None else f" {record.score:.4f}"
    return f"trial {record.number} ({record.state}){score}: {words}"
