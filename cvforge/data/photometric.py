"""Random light, colour and sharpness: the part of an augmentation that moves no pixel. Albumentations does the work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.data.random_frame import check_probability


@dataclass(frozen=True)
class PhotometricRange:
    """How far light, colour and sharpness may go.

    Attributes:
        brightness: largest change, as a fraction of full scale.
        contrast: largest change of the contrast factor.
        gamma: largest change of the exponent.
        hue_deg: largest shift of hue, in degrees.
        saturation: largest change of saturation, as a fraction of full scale.
        gray: probability that the image loses its colour.
        degrade: probability of one of blur, noise or JPEG artefacts.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    gamma: float = 0.2
    hue_deg: float = 8.0
    saturation: float = 0.3
    gray: float = 0.0
    degrade: float = 0.1

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "gamma", "saturation", "gray", "degrade"):
            check_probability(name, getattr(self, name))
        if not 0.0 <= self.hue_deg <= 180.0:
            raise ValueError(f"hue_deg: found {self.hue_deg}, accepted 0..180")


class Photometric:
    """Callable that changes light, colour and sharpness of an image within a `PhotometricRange`."""

    def __init__(self, limits: PhotometricRange, *, operations: int = 0) -> None:
        """Prepare the transforms.

        Args:
            limits: how far each change may go.
            operations: how many stronger changes are drawn per image besides (contrast, equalise, posterise, solarise,
                sharpen, tone curve). Source: Cubuk et al. 2020, RandAugment, the colour half of its table.
        """
        albumentations = load_albumentations()
        self._compose = albumentations.Compose(_transforms(albumentations, limits, operations=operations))

    def __call__(self, image_bgr: npt.NDArray[np.uint8], *, seed: int) -> npt.NDArray[np.uint8]:
        """A changed copy of a (h, w, 3) uint8 BGR image; the same for the same seed."""
        self._compose.set_random_seed(seed % 2**32)
        # Albumentations expects RGB; hue and grey depend on the order of the channels.
        changed = self._compose(image=np.ascontiguousarray(image_bgr[..., ::-1]))["image"]
        return np.ascontiguousarray(changed[..., ::-1])


def load_albumentations() -> Any:
    """The albumentations package, imported without its look for a newer version on the network."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def _transforms(a: Any, limits: PhotometricRange, *, operations: int) -> list[Any]:
    hue, saturation = limits.hue_deg / 2, limits.saturation * 255  # OpenCV's hue has 180 steps
    transforms = [
        a.RandomBrightnessContrast(brightness_limit=limits.brightness, contrast_limit=limits.contrast, p=0.8),
        a.RandomGamma(gamma_limit=(100 - 100 * limits.gamma, 100 + 100 * limits.gamma), p=0.3),
        a.HueSaturationValue(hue_shift_limit=hue, sat_shift_limit=saturation, val_shift_limit=0, p=0.5),
        a.ToGray(p=limits.gray),
        a.OneOf(
            [
                a.GaussianBlur(blur_limit=(3, 5), p=1.0),
                a.MotionBlur(blur_limit=(3, 7), p=1.0),
                a.ISONoise(p=1.0),
                a.ImageCompression(quality_range=(40, 90), p=1.0),
            ],
            p=limits.degrade,
        ),
    ]
    if operations:
        stronger = [
            a.AutoContrast(p=1.0),
            a.Equalize(p=1.0),
            a.Posterize(num_bits=(4, 7), p=1.0),
            a.Solarize(threshold_range=(0.5, 1.0), p=1.0),
            a.Sharpen(alpha=(0.1, 0.5), p=1.0),
            a.RandomToneCurve(p=1.0),
            a.NoOp(p=1.0),
        ]
        transforms.append(a.SomeOf(stronger, n=operations, p=1.0))
    return transforms
