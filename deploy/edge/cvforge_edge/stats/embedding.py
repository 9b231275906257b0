"""Where a set of images lies in the space of a network's own features, and how far an image lies from the set.

As JSON, for d numbers an image:
```
{"images": 73, "mean": [d numbers], "scatter": [d * (d + 1) / 2 numbers], "distances": D}
```
`scatter` is the sum over images of the outer product of the deviation from the mean (divided by `images` it is the
covariance), its upper triangle row by row. D is a `Distribution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.records import dataclass
from cvforge_edge.stats.distribution import MAX_COUNT, Bins, Distribution
from cvforge_edge.strict_json import Fields

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_WIDTH = 256
"""Numbers an image that JSON may ask for; ours have 32."""
MAX_VALUE = 1e15
"""Above this, sums of squares of many images leave the range of a float; features are smaller by far."""
DISTANCE_BINS = Bins(0.0, 10.0, 100)
NEGATIVE_SHARE = 1e-9
"""How far below 0, as a share of the trace, rounding may put an eigenvalue of the scatter matrix."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Measures `EmbeddingStatistics.distance` from a set of images.

    Attributes:
        mean: (d,), of the set.
        axes: (d, d), main axes of its covariance, one a column.
        precisions: (d,), 1 / variance along each axis.
    """

    mean: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    precisions: npt.NDArray[np.float64]

    def distance(self, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """(n,) distances of points (n, d), at least 0.

        Raises:
            SpecError: the points have another width.
        """
        points = _check_points(points, len(self.mean))
        squared: npt.NDArray[np.float64] = np.square((points - self.mean) @ self.axes) @ self.precisions
        return np.sqrt(squared / len(self.mean))


class EmbeddingStatistics:
    """Mean and covariance of embeddings, in memory that does not grow with the set; parts are joined without loss of digits.

    Source: Chan, Golub & LeVeque 1979, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, eq. 2.1,
    with outer products in place of squares.

    `distances` holds how far images were from reference images. For the reference images themselves: from nine tenths of
    them, each image from those without it. It is empty where nobody compared.

    Args:
        width: d, how many numbers an embedding has.
    """

    def __init__(self, width: int) -> None:
        self.images = 0
        self.mean: npt.NDArray[np.float64] = np.zeros(width, np.float64)
        self.scatter: npt.NDArray[np.float64] = np.zeros((width, width), np.float64)
        self.distances = Distribution(DISTANCE_BINS)

    @classmethod
    def of(cls, embedding: npt.NDArray[Any]) -> EmbeddingStatistics:
        """Those of one image.

        Raises:
            SpecError: the embedding is not (d,) with d in 1..256, or holds NaN, Infinity or numbers above 1e15.
        """
        values = np.asarray(embedding, np.float64)
        if values.ndim != 1 or not 1 <= len(values) <= MAX_WIDTH:
            raise SpecError(f"embedding: found shape {values.shape}, expected (d,) with d in 1..{MAX_WIDTH}")
        if not (np.abs(values) <= MAX_VALUE).all():
            raise SpecError(f"embedding: found NaN, Infinity or a number above {MAX_VALUE:g}; the model is damaged")
        one = cls(len(values))
        one.images, one.mean = 1, values
        return one

    @property
    def width(self) -> int:
        """d, how many numbers an embedding has."""
        return len(self.mean)

    @property
    def covariance(self) -> npt.NDArray[np.float64]:
        """(d, d), of the images as a population (divided by their number); 0 when there is none."""
        return self.scatter / max(self.images, 1)

    @property
    def can_measure(self) -> bool:
        """Whether there is something to measure distances with: at least two images, not all of them equal."""
        return float(np.trace(self.scatter)) > 0

    def merge(self, other: EmbeddingStatistics) -> None:
        """Take in what another set of images gave.

        Raises:
            SpecError: its embeddings have another width.
        """
        if other.width != self.width:
            raise SpecError(f"embeddings of {other.width} numbers cannot join those of {self.width}")
        self.distances.merge(other.distances)
        if not other.images:
            return
        difference = other.mean - self.mean
        joined = self.images + other.images
        weight = self.images * other.images / joined
        self.scatter = self.scatter + other.scatter + np.outer(difference, difference) * weight
        self.mean = self.mean + difference * (other.images / joined)
        self.images = joined

    def distance(self, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Mahalanobis distance of points from the mean, divided by the root of d: about 1 for an image like those of the set.

        The covariance is shrunk towards equal variances in all directions, by how much follows from the number of images:
        the plain one of 50 images calls every new image an outlier.
        Sources: Mahalanobis 1936; Chen et al. 2010, Shrinkage Algorithms for MMSE Covariance Estimation, eq. 23 (oracle
        approximating shrinkage), without its terms in 2 / d as in scikit-learn.

        Args:
            points: (n, d).

        Returns:
            (n,), at least 0.

        Raises:
            SpecError: the points have another width, or `can_measure` is False.
        """
        _check_points(points, self.width)
        return self.yardstick().distance(points)

    def yardstick(self) -> Yardstick:
        """What measures distances from the images so far, made once for many points.

        Raises:
            SpecError: `can_measure` is False.
        """
        if not self.can_measure:
            raise SpecError(f"distance: found {self.images} images without spread, expected at least two that differ")
        variances, axes = np.linalg.eigh(self.covariance)
        return Yardstick(self.mean, axes, 1 / _shrunk(np.maximum(variances, 0.0), self.images))

    def shift(self, window: EmbeddingStatistics) -> float:
        """How far the mean of other images lies from that of the set: about 1 where they are alike, and if they are not, more
        with every image. It sees a change long before single images are out of the ordinary.

        The root of Hotelling's T-squared divided by d, with the shrunk covariance of `distance`.
        Source: Hotelling 1931, The Generalization of Student's Ratio.

        Raises:
            SpecError: the window has another width or no image, or `can_measure` is False.
        """
        if not window.images:
            raise SpecError("shift: found a window without images, expected at least one")
        weight = self.images * window.images / (self.images + window.images)
        return float(np.sqrt(weight) * self.distance(window.mean[None])[0])

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "images": self.images,
            "mean": self.mean.tolist(),
            "scatter": self.scatter[np.triu_indices(self.width)].tolist(),
            "distances": self.distances.to_value(),
        }

    @classmethod
    def read(cls, fields: Fields) -> EmbeddingStatistics | None:
        """What JSON fields stand for, or None with their problems noted in `fields`."""
        images = fields.integer("images", low=0)
        mean, upper = fields.numbers("mean"), fields.numbers("scatter")
        distances = fields.object("distances")
        read = None if distances is None else Distribution.read(distances, DISTANCE_BINS)
        fields.finish()
        if images is None or mean is None or upper is None or read is None:
            return None
        problems = _size_problems(images, mean, upper)
        if not problems:
            made = cls(len(mean))
            made.images, made.mean, made.distances = images, np.array(mean, np.float64), read
            made.scatter = _symmetric(np.array(upper, np.float64), len(mean))
            problems = made._problems()
        for problem in problems:
            fields.problem(fields.path(problem))
        return None if problems else made

    def _problems(self) -> list[str]:
        """Why no images can have given these numbers."""
        problems = []
        if self.images < 2 and (self.scatter.any() or (not self.images and self.mean.any())):
            problems.append(f"images: found {self.images}, but there is a mean or a scatter")
        lowest = float(np.linalg.eigvalsh(self.scatter)[0])
        if lowest < -NEGATIVE_SHARE * max(float(np.trace(self.scatter)), 0.0):
            problems.append(f"scatter: found an eigenvalue of {lowest:g}, accepted at least 0")
        if self.distances.count > self.images:
            problems.append(f"distances: found {self.distances.count} of {self.images} images")
        if self.distances.minimum < 0:
            problems.append(f"distances.minimum: found {self.distances.minimum:g}, accepted at least 0")
        return problems


def _check_points(points: npt.NDArray[Any], width: int) -> npt.NDArray[np.float64]:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != width:
        raise SpecError(f"points: found shape {points.shape}, expected (n, {width})")
    return points


def _shrunk(variances: npt.NDArray[np.float64], images: int) -> npt.NDArray[np.float64]:
    """Eigenvalues (d,) of a covariance, brought nearer to their mean; see `EmbeddingStatistics.distance`."""
    mean = float(variances.mean())
    squares, apart = float(np.square(variances).sum()), float(np.square(variances - mean).sum())
    share = (squares + len(variances) ** 2 * mean**2) / ((images + 1) * apart) if apart > 0 else 1.0
    share = min(1.0, share)
    return (1 - share) * variances + share * mean


def _size_problems(images: int, mean: tuple[float, ...], upper: tuple[float, ...]) -> list[str]:
    """Why these numbers cannot be read, found before anything is made of them."""
    width = len(mean)
    problems = [] if images <= MAX_COUNT else [f"images: found {images}, accepted at most {MAX_COUNT}"]
    if not 1 <= width <= MAX_WIDTH:
        problems.append(f"mean: found {width} numbers, accepted 1..{MAX_WIDTH}")
    elif len(upper) != width * (width + 1) // 2:
        expected = width * (width + 1) // 2
        problems.append(f"scatter: found {len(upper)} numbers, expected {expected}: the upper triangle of {width} rows")
    if max(map(abs, mean), default=0.0) > MAX_VALUE or max(map(abs, upper), default=0.0) > MAX_VALUE**2 * MAX_COUNT:
        problems.append(f"mean: found numbers above {MAX_VALUE:g}, which no embedding has")
    return problems


def _symmetric(upper: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """The matrix (width, width) of its upper triangle."""
    matrix = np.zeros((width, width), np.float64)
    matrix[np.triu_indices(width)] = upper
    return matrix + np.triu(matrix, 1).T
