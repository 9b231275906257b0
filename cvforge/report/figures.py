"""What a report shows of a validation, whatever the task: charts, one confusion matrix, classes, and a score for each image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cvforge.html.chart import Chart
from cvforge.html.matrix import Matrix

MATRIX_WRITTEN_UP_TO = 200
"""Classes."""


@dataclass(frozen=True)
class ImageScore:
    """How well one image was answered.

    Attributes:
        score: higher is better.
        weight: how much there was to get right or wrong; of equal scores the image with more comes first.
    """

    score: float
    weight: float


@dataclass(frozen=True)
class Figures:
    """Of one validation.

    Attributes:
        charts: lines.
        matrix: which class was taken for which.
        findings: sentences for the reader.
        class_header, class_rows: one row a class, the worst first.
        class_note: what the columns mean, where that is not plain.
        confusions: (true, predicted, how often) of the most frequent mistakes.
        image_scores: by image id.
        image_score_meaning: what they are, as a sentence.
        values: numbers for JSON, beside the matrix.
    """

    charts: tuple[Chart, ...]
    matrix: Matrix
    findings: tuple[str, ...]
    class_header: tuple[str, ...]
    class_rows: tuple[tuple[str, ...], ...]
    class_note: str
    confusions: tuple[tuple[str, str, int], ...]
    image_scores: dict[str, ImageScore]
    image_score_meaning: str
    values: dict[str, Any] = field(default_factory=dict)

    def as_values(self) -> dict[str, Any]:
        """Plain values for JSON; a matrix of very many classes would be megabytes of zeros and is left out."""
        if len(self.matrix.labels) > MATRIX_WRITTEN_UP_TO:
            return self.values
        matrix = [list(row) for row in self.matrix.counts]
        return self.values | {"confusion": matrix, "confusion_labels": list(self.matrix.labels)}

    def worst(self, count: int) -> list[str]:
        """Ids of the images with the lowest scores, the lowest first."""
        return sorted(self.image_scores, key=lambda i: (self.image_scores[i].score, -self.image_scores[i].weight, i))[
            :count
        ]

    def best(self, count: int) -> list[str]:
        """Ids of the images with the highest scores, the highest first, none of which is among as many worst."""
        order = sorted(self.image_scores, key=lambda i: (-self.image_scores[i].score, -self.image_scores[i].weight, i))
        worst = set(self.worst(count))
        return [image_id for image_id in order if image_id not in worst][:count]


def share_text(value: float) -> str:
    """A number in 0..1 for a table; nothing for NaN."""
    return "" if value != value else f"{value:.3f}"
