"""How much of each class a model finds in an image, over a whole set of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.strict_json import Fields

if TYPE_CHECKING:
    import numpy.typing as npt


class ClassAmounts:
    """Total, mean and variance over images of the amount of each class.

    The amount in an image is the number of objects of the class (detection), 1 for the strongest class and 0 for the
    others (classification), or the share of pixels in 0..1 (segmentation). Totals of whole numbers are exact; variances
    are joined as in `Distribution`.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self.images = 0
        self.totals: npt.NDArray[np.float64] = np.zeros(classes, np.float64)
        self.squared_deviations: npt.NDArray[np.float64] = np.zeros(classes, np.float64)

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """Mean amount in an image, (c,); 0 when there is no image."""
        return self.totals / max(self.images, 1)

    @property
    def variances(self) -> npt.NDArray[np.float64]:
        """Variance of the amount over images as a population, (c,); 0 when there is no image."""
        return self.squared_deviations / max(self.images, 1)

    def add(self, amounts: npt.NDArray[Any]) -> None:
        """Take in the amounts (c,) of one image.

        Raises:
            SpecError: there are other classes.
        """
        if amounts.shape != self.totals.shape:
            raise SpecError(f"class amounts: found {amounts.shape}, expected {self.totals.shape}")
        part = ClassAmounts(len(self.totals))
        part.images, part.totals = 1, amounts.astype(np.float64)
        self.merge(part)

    def merge(self, other: ClassAmounts) -> None:
        """Take in what another set of images gave.

        Raises:
            SpecError: there are other classes.
        """
        if other.totals.shape != self.totals.shape:
            raise SpecError(f"class amounts of {len(other.totals)} classes cannot join those of {len(self.totals)}")
        if not other.images:
            return
        difference = other.means - self.means
        joined = self.images + other.images
        weight = self.images * other.images / joined
        self.squared_deviations = self.squared_deviations + other.squared_deviations + difference**2 * weight
        self.totals = self.totals + other.totals
        self.images = joined

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON, in the order of the labels."""
        return {
            "images": self.images,
            "totals": self.totals.tolist(),
            "squared_deviations": self.squared_deviations.tolist(),
        }

    @classmethod
    def read(cls, fields: Fields, classes: int) -> ClassAmounts | None:
        """The amounts that JSON fields stand for, or None with their problems noted in `fields`."""
        images = fields.integer("images", low=0)
        columns = [_read_column(fields, name, classes) for name in ("totals", "squared_deviations")]
        fields.finish()
        if images is None or columns[0] is None or columns[1] is None:
            return None
        made = cls(classes)
        made.images, made.totals, made.squared_deviations = images, columns[0], columns[1]
        if not images and (made.totals.any() or made.squared_deviations.any()):
            fields.problem(f"{fields.path('images')}: found 0, but there are amounts")
            return None
        return made


def _read_column(fields: Fields, name: str, classes: int) -> npt.NDArray[np.float64] | None:
    values = fields.numbers(name)
    if values is None:
        return None
    if len(values) != classes or min(values, default=0.0) < 0:
        fields.problem(
            f"{fields.path(name)}: found {len(values)} numbers, expected {classes} of at least 0, one a label"
        )
        return None
    return np.array(values, np.float64)
