"""What images and predictions of a model usually look like: made at export, compared on devices to notice drift.

As JSON, in `reference_statistics` of a manifest, for a model of the labels A and B:
```
{"schema_version": 2,
 "input": {"brightness": D, "contrast": D, "sharpness": D,
           "colors": {"blue": [32 counts], "green": [32 counts], "red": [32 counts]}},
 "prediction": {"classes": {"images": 73, "totals": [of A, of B], "squared_deviations": [of A, of B]},
                "scores": D, "objects": D},
 "embedding": {"images": 73, "mean": [...], "scatter": [...], "distances": D}}
```
where each D is `{"low", "high", "counts", "mean", "squared_deviations", "minimum", "maximum"}`. Detection has `scores` of
all reported objects and `objects` in an image, classification has `scores` of the strongest class, segmentation neither.
`embedding` is there where the network gives one (`stats/embedding.py`); version 1 had none and is read as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import BundleError, SpecError
from cvforge_edge.stats.class_amounts import ClassAmounts
from cvforge_edge.stats.distribution import Bins, Distribution, read_counts
from cvforge_edge.stats.embedding import EmbeddingStatistics
from cvforge_edge.stats.image import CHANNELS, COLOR_BINS, measure_image
from cvforge_edge.strict_json import Fields, format_json, parse_strict
from cvforge_edge.types import ClassScores, Detections, Prediction, Task

if TYPE_CHECKING:
    import numpy.typing as npt

STATISTICS_SCHEMA_VERSION = 2
READ_SCHEMA_VERSIONS = (1, 2)
INPUT_BINS = {
    "brightness": Bins(0.0, 256.0, 64),
    "contrast": Bins(0.0, 128.0, 64),
    "sharpness": Bins(0.0, 5.0, 50),
}
SCORE_BINS = Bins(0.0, 1.0, 50)
OBJECT_BINS = Bins(0.0, 128.0, 128)
"""One bin for each number of objects in an image; 127 and more share the last."""


class InputStatistics:
    """Light, contrast, focus and colours over the original images that were added."""

    def __init__(self) -> None:
        self.measures = {name: Distribution(bins) for name, bins in INPUT_BINS.items()}
        self.color_counts: npt.NDArray[np.int64] = np.zeros((len(CHANNELS), COLOR_BINS), np.int64)

    def add(self, image_bgr: npt.NDArray[np.uint8]) -> None:
        """Take in one original image, (h, w, 3) uint8 BGR; `measure_image` says what is measured and what it costs."""
        measured = measure_image(image_bgr)
        for name, distribution in self.measures.items():
            distribution.add(np.array([getattr(measured, name)]))
        self.color_counts = self.color_counts + measured.color_counts

    def merge(self, other: InputStatistics) -> None:
        """Take in what another process saw."""
        for name, distribution in self.measures.items():
            distribution.merge(other.measures[name])
        self.color_counts = self.color_counts + other.color_counts

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        colors = {channel: self.color_counts[index].tolist() for index, channel in enumerate(CHANNELS)}
        return {**{name: entry.to_value() for name, entry in self.measures.items()}, "colors": colors}

    def read(self, fields: Fields | None) -> None:
        """Take over what JSON fields say; problems are noted in `fields`."""
        if fields is None:
            return
        for name, bins in INPUT_BINS.items():
            self.measures[name] = _read_distribution(fields, name, bins) or self.measures[name]
        colors = fields.object("colors")
        if colors is not None:
            columns = [read_counts(colors, channel, COLOR_BINS) for channel in CHANNELS]
            colors.finish()
            found = [column for column in columns if column is not None]
            self.color_counts = np.stack(found) if len(found) == len(CHANNELS) else self.color_counts
        fields.finish()


class PredictionStatistics:
    """Scores, classes and numbers of objects over the predictions that were added.

    Args:
        task: what the model predicts.
        classes: how many labels it has.
    """

    def __init__(self, task: Task, classes: int) -> None:
        self.task = task
        self.classes = ClassAmounts(classes)
        self.scores = Distribution(SCORE_BINS) if task is not Task.SEGMENTATION else None
        self.objects = Distribution(OBJECT_BINS) if task is Task.DETECTION else None

    def add(self, prediction: Prediction) -> None:
        """Take in the prediction of one image, with the thresholds of use.

        Raises:
            SpecError: it is of another task, or names a class that has no label.
        """
        classes = len(self.classes.totals)
        if isinstance(prediction, Detections) and self.objects is not None and self.scores is not None:
            found = prediction.class_ids
            _require_known(found, classes)
            self.classes.add(np.bincount(found, minlength=classes))
            self.scores.add(prediction.scores)
            self.objects.add(np.array([len(prediction)]))
        elif isinstance(prediction, ClassScores) and self.task is Task.CLASSIFICATION and self.scores is not None:
            [(strongest, score)] = prediction.top(1)
            _require_known(np.array([strongest]), classes)
            self.classes.add(np.bincount([strongest], minlength=classes))
            self.scores.add(np.array([score]))
        elif not isinstance(prediction, (Detections, ClassScores)) and self.task is Task.SEGMENTATION:
            pixels = np.bincount(prediction.class_map.ravel(), minlength=classes)
            _require_known(np.flatnonzero(pixels), classes)
            self.classes.add(pixels / max(prediction.class_map.size, 1))
        else:
            raise SpecError(
                f"prediction: found {type(prediction).__name__}, expected that of a {self.task.value} model"
            )

    def merge(self, other: PredictionStatistics) -> None:
        """Take in what another process saw.

        Raises:
            SpecError: it is of another task or has other classes.
        """
        if other.task is not self.task:
            raise SpecError(f"statistics of {other.task.value} cannot join those of {self.task.value}")
        self.classes.merge(other.classes)
        for mine, theirs in ((self.scores, other.scores), (self.objects, other.objects)):
            if mine is not None and theirs is not None:
                mine.merge(theirs)

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        value: dict[str, Any] = {"classes": self.classes.to_value()}
        for name, distribution in (("scores", self.scores), ("objects", self.objects)):
            if distribution is not None:
                value[name] = distribution.to_value()
        return value

    def read(self, fields: Fields | None) -> None:
        """Take over what JSON fields say; problems are noted in `fields`."""
        if fields is None:
            return
        amounts = fields.object("classes")
        if amounts is not None:
            self.classes = ClassAmounts.read(amounts, len(self.classes.totals)) or self.classes
        if self.scores is not None:
            self.scores = _read_distribution(fields, "scores", SCORE_BINS) or self.scores
        if self.objects is not None:
            self.objects = _read_distribution(fields, "objects", OBJECT_BINS) or self.objects
        fields.finish()


class Statistics:
    """Input, prediction and embedding statistics of one model, in constant memory; parts of a set can be merged in any order.

    Args:
        task: what the model predicts.
        labels: its class names, in the order of the scores.
    """

    def __init__(self, task: Task, labels: tuple[str, ...]) -> None:
        self.input = InputStatistics()
        self.prediction = PredictionStatistics(task, len(labels))
        self.embedding: EmbeddingStatistics | None = None

    @property
    def images(self) -> int:
        """How many were added."""
        return self.prediction.classes.images

    def add(
        self,
        image_bgr: npt.NDArray[np.uint8],
        prediction: Prediction,
        *,
        embedding: npt.NDArray[Any] | None = None,
    ) -> None:
        """Take in one original image and what the model says about it.

        Args:
            image_bgr: (h, w, 3) uint8.
            prediction: with the thresholds of use.
            embedding: (d,), the raw output of that role; None where the model has none.

        Raises:
            SpecError: something breaks its contract, or only some images have an embedding; nothing of this image was
                taken in.
        """
        one = PredictionStatistics(self.prediction.task, len(self.prediction.classes.totals))
        one.add(prediction)
        place = None if embedding is None else EmbeddingStatistics.of(embedding)
        self._require_like(place)
        self.input.add(image_bgr)
        self._join(place)
        self.prediction.merge(one)

    def merge(self, other: Statistics) -> None:
        """Take in what another process or an earlier day saw.

        Raises:
            SpecError: it is of another task, has other classes, or only one of both has embeddings of its images.
        """
        if other.images:
            self._require_like(other.embedding)
        self.prediction.merge(other.prediction)
        self.input.merge(other.input)
        self._join(other.embedding)

    def _require_like(self, embedding: EmbeddingStatistics | None) -> None:
        found, own = (0 if one is None else one.width for one in (embedding, self.embedding))
        if self.images and found != own:
            raise SpecError(f"embedding: found {found} numbers, but images before had {own}; one model gives the same")

    def _join(self, embedding: EmbeddingStatistics | None) -> None:
        if embedding is None:
            return
        if self.embedding is None:
            self.embedding = EmbeddingStatistics(embedding.width)
        self.embedding.merge(embedding)

    def to_value(self) -> dict[str, Any]:
        """Plain values, as they go into `Manifest.reference_statistics`."""
        value = {
            "schema_version": STATISTICS_SCHEMA_VERSION,
            "input": self.input.to_value(),
            "prediction": self.prediction.to_value(),
        }
        return value if self.embedding is None else {**value, "embedding": self.embedding.to_value()}

    def to_json(self) -> str:
        """The same statistics always give the same text."""
        return format_json(self.to_value())

    @classmethod
    def from_value(cls, value: Any, *, task: Task, labels: tuple[str, ...], where: str) -> Statistics:
        """The statistics that parsed JSON stands for, such as `Manifest.reference_statistics`.

        Args:
            value: from `to_value`.
            task: of the model that they belong to.
            labels: of that model.
            where: named in error messages, usually the path of the file.

        Raises:
            BundleError: an unknown, missing or ill-typed key, another schema version, or numbers that cannot be; the
                message lists every problem.
        """
        problems: list[str] = []
        fields = Fields(value, key="", problems=problems)
        version = fields.integer("schema_version", low=1)
        if version is not None and version not in READ_SCHEMA_VERSIONS:
            accepted = ", ".join(map(str, READ_SCHEMA_VERSIONS))
            raise BundleError(
                f"{where}: statistics of schema_version {version}, accepted {accepted}; "
                "export the bundle again with this version, or update the device runtime"
            )
        made = cls(task, labels)
        made.input.read(fields.object("input"))
        made.prediction.read(fields.object("prediction"))
        if version == STATISTICS_SCHEMA_VERSION and fields.has("embedding"):
            place = fields.object("embedding")
            made.embedding = None if place is None else EmbeddingStatistics.read(place)
        fields.finish()
        counted = {entry.count for entry in made.input.measures.values()} | {made.images}
        counted |= set() if made.embedding is None else {made.embedding.images}
        if not problems and len(counted) > 1:
            problems.append(f"its parts are of different numbers of images: {sorted(counted)}")
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise BundleError(f"{where}: statistics cannot be used; export the bundle again\n{listed}")
        return made

    @classmethod
    def from_json(cls, text: str, *, task: Task, labels: tuple[str, ...], where: str) -> Statistics:
        """As `from_value`, from the text of `to_json`."""
        try:
            value = parse_strict(text)
        except ValueError as error:
            raise BundleError(f"{where}: no statistics: {error}; export the bundle again") from None
        return cls.from_value(value, task=task, labels=labels, where=where)


def _read_distribution(fields: Fields, name: str, bins: Bins) -> Distribution | None:
    entry = fields.object(name)
    return None if entry is None else Distribution.read(entry, bins)


def _require_known(class_ids: npt.NDArray[np.int64], classes: int) -> None:
    if class_ids.size and not 0 <= class_ids.min() <= class_ids.max() < classes:
        raise SpecError(f"prediction: found class ids {class_ids.min()}..{class_ids.max()}, accepted 0..{classes - 1}")
