"""Mean average precision of detections as COCO defines it, from two lists of `Detections`."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.metrics.bootstrap import Counts, Resampler, Values
from cvforge.metrics.resampled_precision import ClassMatches, MatchCollector, resampled_map
from cvforge_edge.types import Detections, Task

IOU_50, IOU_75 = 0, 5  # positions of 0.50 and 0.75 in COCO's ten thresholds 0.50:0.05:0.95
AREA_ALL, AREA_SMALL, AREA_MEDIUM, AREA_LARGE = range(4)
UNDEFINED = -1.0  # how COCO evaluation marks a cell without ground truth
MATCHED_AT_ONCE = 100  # images whose matches are Python objects at the same time: they are large
BACKENDS = ("auto", "hotcoco", "pycocotools")
MetricState = dict[str, tuple[Detections, Detections]]


class MeanAveragePrecision:
    """COCO's box metrics over the images seen so far; an image that comes twice counts once.

    Computed by `hotcoco`, or by `pycocotools` where that is not installed; both give the same numbers.
    Keys: `map` (mean over IoU 0.50:0.95), `map50`, `map75`, `map_small`, `map_medium`, `map_large`, `mar100` (recall
    with at most 100 detections of a class in an image) and `ap/<label>`. A key whose objects do not occur is left out,
    except `map`, `map50`, `map75` and `mar100`, which are 0 when there is no object at all.
    """

    task = Task.DETECTION
    primary = "map"

    def __init__(self, labels: tuple[str, ...], *, backend: str = "auto") -> None:
        """Start without images.

        Args:
            labels: class names; a class id is an index into them.
            backend: `hotcoco`, `pycocotools`, or `auto` for the first that is installed.

        Raises:
            ValueError: backend is none of these.
        """
        if backend not in BACKENDS:
            raise ValueError(f"backend: found {backend!r}, accepted {', '.join(BACKENDS)}")
        self.labels = tuple(labels)
        self.backend = backend
        self._images: MetricState = {}

    def update(self, prediction: Detections, truth: Detections, image_id: str) -> None:
        """Take in one image; what was known about `image_id` is replaced."""
        self._images[image_id] = (_without_extras(prediction), _without_extras(truth))

    def compute(self) -> dict[str, float]:
        """The metrics over all images.

        Raises:
            ValueError: no image was given, or a class id has no label.
        """
        if not self._images:
            raise ValueError("mean average precision: no image was given; call update() for each image first")
        with _silence():
            evaluation = self._evaluation()
            evaluation.evaluate()
            evaluation.accumulate()
        return _summary(evaluation.eval["precision"], evaluation.eval["recall"], labels=self.labels)

    def reset(self) -> None:
        """Forget all images."""
        self._images = {}

    def state(self) -> MetricState:
        """What `merge` of another process needs: predictions and truths by image id."""
        return dict(self._images)

    def merge(self, state: MetricState) -> None:
        """Take in the images that another process saw."""
        self._images.update(state)

    def resampler(self) -> Resampler:
        """Gives `map` of resampled sets of the images seen so far; see `cvforge.metrics.bootstrap`."""
        classes = self.matches()

        def mean_average_precision(counts: Counts) -> Values:
            return resampled_map(classes, counts)

        return mean_average_precision

    def matches(self, *, iou_thresholds: tuple[float, ...] | None = None) -> list[ClassMatches]:
        """Which detections found which objects of any size, for each class that occurs.

        Args:
            iou_thresholds: overlap from which a detection has found an object; None for COCO's ten.
        """
        with _silence():
            evaluation = self._evaluation()
            params = evaluation.params
            params.areaRng, params.areaRngLbl = [params.areaRng[AREA_ALL]], ["all"]
            if iou_thresholds is not None:
                params.iouThrs = np.array(iou_thresholds)
            matches = MatchCollector(len(self._images), len(params.iouThrs))
            for begin in range(0, len(self._images), MATCHED_AT_ONCE):
                end = min(begin + MATCHED_AT_ONCE, len(self._images))
                params.imgIds = list(range(begin + 1, end + 1))
                evaluation.evaluate()
                matches.add(evaluation.evalImgs)
        return matches.by_class()

    def _evaluation(self) -> Any:
        """A `COCOeval` of the images in the order of their ids, which are numbered from 1."""
        images = [self._images[key] for key in sorted(self._images)]
        predictions, truths = _table([p for p, _ in images]), _table([t for _, t in images])
        _check_class_ids(predictions.class_ids, truths.class_ids, len(self.labels))
        prepare = _prepare_hotcoco if _resolve(self.backend) == "hotcoco" else _prepare_pycocotools
        return prepare(predictions, truths, len(images), len(self.labels))


@dataclass(frozen=True)
class _BoxTable:
    """All boxes of a data set as columns; `image_numbers` counts from 1, `boxes_xywh` is float64."""

    image_numbers: npt.NDArray[np.int64]
    class_ids: npt.NDArray[np.int64]
    boxes_xywh: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    is_crowd: npt.NDArray[np.bool_]


def _without_extras(detections: Detections) -> Detections:
    return Detections(
        detections.boxes_xyxy,
        detections.scores,
        detections.class_ids,
        is_crowd=detections.is_crowd,
        areas=detections.areas,
    )


def _table(images: list[Detections]) -> _BoxTable:
    counts = [len(d) for d in images]
    boxes = np.concatenate([d.boxes_xyxy for d in images]).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    areas = [d.areas if d.areas is not None else _box_areas(d) for d in images]
    crowds = [d.is_crowd if d.is_crowd is not None else np.zeros(len(d), np.bool_) for d in images]
    return _BoxTable(
        image_numbers=np.repeat(np.arange(1, len(images) + 1), counts),
        class_ids=np.concatenate([d.class_ids for d in images]),
        boxes_xywh=boxes,
        scores=np.concatenate([d.scores for d in images]).astype(np.float64),
        areas=np.concatenate(areas).astype(np.float64),
        is_crowd=np.concatenate(crowds),
    )


def _box_areas(detections: Detections) -> npt.NDArray[np.float64]:
    boxes = detections.boxes_xyxy.astype(np.float64)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _check_class_ids(predicted: npt.NDArray[np.int64], true: npt.NDArray[np.int64], num_classes: int) -> None:
    for what, class_ids in (("prediction", predicted), ("truth", true)):
        wrong = class_ids[(class_ids < 0) | (class_ids >= num_classes)]
        if wrong.size:
            raise ValueError(
                f"{what}: found class id {wrong[0]}, but there are {num_classes} labels (0..{num_classes - 1})"
            )


def _resolve(backend: str) -> str:
    if backend != "auto":
        return backend
    try:
        import hotcoco  # noqa: F401
    except ImportError:
        return "pycocotools"
    return "hotcoco"


def _prepare_hotcoco(predictions: _BoxTable, truths: _BoxTable, num_images: int, num_classes: int) -> Any:
    from hotcoco import COCO, COCOeval

    images, categories = _coco_header(num_images, num_classes)
    coco_truth = COCO.from_arrays(
        images,
        categories,
        truths.image_numbers,
        truths.class_ids + 1,
        truths.boxes_xywh,
        area=truths.areas,
        iscrowd=truths.is_crowd,
    )
    rows = np.column_stack(
        (predictions.image_numbers, predictions.boxes_xywh, predictions.scores, predictions.class_ids + 1)
    )
    return COCOeval(coco_truth, coco_truth.load_res(rows.astype(np.float64)), "bbox")


def _prepare_pycocotools(predictions: _BoxTable, truths: _BoxTable, num_images: int, num_classes: int) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, categories = _coco_header(num_images, num_classes)
    coco_truth, coco_predicted = COCO(), COCO()
    for coco, table in ((coco_truth, truths), (coco_predicted, predictions)):
        coco.dataset = {"images": images, "categories": categories, "annotations": _annotations(table)}
        coco.createIndex()
    return COCOeval(coco_truth, coco_predicted, "bbox")


def _silence() -> contextlib.AbstractContextManager[Any]:
    """Pycocotools prints its progress."""
    return contextlib.redirect_stdout(io.StringIO())


def _coco_header(num_images: int, num_classes: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    images = [{"id": number, "width": 1, "height": 1} for number in range(1, num_images + 1)]
    return images, [{"id": class_id + 1, "name": str(class_id)} for class_id in range(num_classes)]


def _annotations(table: _BoxTable) -> list[dict[str, Any]]:
    return [
        {
            "id": row + 1,
            "image_id": int(table.image_numbers[row]),
            "category_id": int(table.class_ids[row]) + 1,
            "bbox": table.boxes_xywh[row].tolist(),
            "area": float(table.areas[row]),
            "iscrowd": int(table.is_crowd[row]),
            "score": float(table.scores[row]),
        }
        for row in range(len(table.class_ids))
    ]


def _summary(
    precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64], *, labels: tuple[str, ...]
) -> dict[str, float]:
    """Means over defined cells of precision (iou, recall, class, area, limit) and recall (iou, class, area, limit)."""
    precision, recall = precision[..., -1], recall[..., -1]
    always = {
        "map": _mean(precision[..., AREA_ALL]),
        "map50": _mean(precision[IOU_50, ..., AREA_ALL]),
        "map75": _mean(precision[IOU_75, ..., AREA_ALL]),
        "mar100": _mean(recall[..., AREA_ALL]),
    }
    where_defined = {
        "map_small": _mean(precision[..., AREA_SMALL]),
        "map_medium": _mean(precision[..., AREA_MEDIUM]),
        "map_large": _mean(precision[..., AREA_LARGE]),
    }
    where_defined.update({f"ap/{label}": _mean(precision[:, :, k, AREA_ALL]) for k, label in enumerate(labels)})
    metrics = {key: 0.0 if value is None else value for key, value in always.items()}
    metrics.update({key: value for key, value in where_defined.items() if value is not None})
    return metrics


def _mean(cells: npt.NDArray[np.float64]) -> float | None:
    defined = cells[cells > UNDEFINED]
    return float(defined.mean()) if defined.size else None
