"""The world of the generated data sets: what lies where, before anything is painted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

SHAPES = ("circle", "square", "triangle", "star", "cross")
"""Labels of the generated sets, in the order of their ids."""
SUBPIXEL_BITS = 4
FINER = 6
PLACE_ATTEMPTS = 12
MIN_VISIBLE = 0.55
"""No object hides more of another than what leaves this fraction of it in view."""

Points = npt.NDArray[np.float64]
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Style:
    """How one object is painted.

    Attributes:
        color_bgr: 0-255.
        shade_deg: direction of the light on it.
        texture: `plain`, `stripes`, `dots` or `grain`.
        outline: strength of its dark rim, 0-1.
        shadow_xy: offset of its shadow, as a fraction of its radius.
    """

    color_bgr: Color
    shade_deg: float
    texture: str
    outline: float
    shadow_xy: tuple[float, float]


@dataclass(frozen=True)
class PlacedShape:
    """One object.

    Attributes:
        class_id: index into `SHAPES`.
        center_xy: in pixels from the corner of the image.
        radius: of the circle around it, in pixels.
        angle_deg: its rotation.
        aspect: factor on its width and divisor of its height.
        style: how it is painted.
    """

    class_id: int
    center_xy: tuple[float, float]
    radius: float
    angle_deg: float
    aspect: float
    style: Style

    def outline(self) -> Points:
        """Corners (n, 2), in pixels from the corner of the image."""
        angle = math.radians(self.angle_deg)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        scaled = unit_outline(self.class_id) * [self.radius * self.aspect, self.radius / self.aspect]
        return scaled @ turn.T + np.array(self.center_xy)  # type: ignore[no-any-return]

    def box_xyxy(self, size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
        """The upright box around it, clipped to the image."""
        points = self.outline()
        x1, y1 = np.maximum(points.min(axis=0), 0)
        x2, y2 = np.minimum(points.max(axis=0), (size_hw[1], size_hw[0]))
        return float(x1), float(y1), float(x2), float(y2)


def unit_outline(class_id: int) -> Points:
    """Corners (n, 2) of a shape inside the unit circle."""
    name = SHAPES[class_id]
    if name == "circle":
        return _ring(48, radii=(1.0,))
    if name == "square":
        return _ring(4, radii=(1.0,), first_deg=45)
    if name == "triangle":
        return _ring(3, radii=(1.0,), first_deg=-90)
    if name == "star":
        return _ring(10, radii=(1.0, 0.42), first_deg=-90)
    return _plus(arm=0.3, reach=0.95)


def place_shapes(
    rng: np.random.Generator, size_hw: tuple[int, int], *, count: int, radius_range: tuple[float, float], margin: float
) -> list[PlacedShape]:
    """Up to `count` objects that may overlap but stay recognisable; later ones lie above earlier ones.

    Args:
        rng: decides everything.
        size_hw: height and width of the image, in pixels.
        count: how many objects are tried.
        radius_range: smallest and largest radius as a fraction of the image's shorter side.
        margin: how far centres stay inside the image, as a fraction of the radius; below 1 objects may be cut off.
    """
    placed: list[PlacedShape] = []
    for _ in range(count):
        for _ in range(PLACE_ATTEMPTS):
            candidate = random_shape(rng, size_hw, radius_range=radius_range, margin=margin)
            if all(share >= MIN_VISIBLE for share in visible_shares([*placed, candidate], size_hw)):
                placed.append(candidate)
                break
    return placed


def random_shape(
    rng: np.random.Generator, size_hw: tuple[int, int], *, radius_range: tuple[float, float], margin: float
) -> PlacedShape:
    """One object anywhere in the image; arguments as for `place_shapes`."""
    class_id = int(rng.integers(len(SHAPES)))
    radius = min(size_hw) * math.exp(rng.uniform(math.log(radius_range[0]), math.log(radius_range[1])))
    edge = min(margin * radius, min(size_hw) / 2)
    center = (float(rng.uniform(edge, size_hw[1] - edge)), float(rng.uniform(edge, size_hw[0] - edge)))
    return PlacedShape(
        class_id,
        center,
        radius=radius,
        angle_deg=float(rng.uniform(0, 360)),
        aspect=math.exp(rng.uniform(-0.12, 0.12)),
        style=random_style(rng),
    )


def random_style(rng: np.random.Generator) -> Style:
    """Colour, texture and light of one object; nothing of it tells the class."""
    return Style(
        color_bgr=random_color(rng, saturation=(90, 230), value=(90, 245)),
        shade_deg=float(rng.uniform(0, 360)),
        texture=str(rng.choice(["plain", "plain", "stripes", "dots", "grain"])),
        outline=float(rng.choice([0.0, 0.35, 0.6])),
        shadow_xy=(float(rng.uniform(-0.2, 0.2)), float(rng.uniform(0.05, 0.3))),
    )


def random_color(rng: np.random.Generator, *, saturation: tuple[float, float], value: tuple[float, float]) -> Color:
    """A BGR colour of any hue, with saturation and value (0-255) from the given ranges."""
    hsv = np.array([[[rng.uniform(0, 180), rng.uniform(*saturation), rng.uniform(*value)]]]).astype(np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]
    return float(blue), float(green), float(red)


def coverage(points: Points, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """How much of each pixel a polygon covers, (h, w) uint8 0-255.

    Drawn finer than it is given: OpenCV's own smooth polygons are half a pixel too large on every side.
    """
    canvas = np.zeros(size_hw, np.uint8)
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int), (size_hw[1], size_hw[0]))
    if right <= left or bottom <= top:
        return canvas
    fine = np.zeros(((bottom - top) * FINER, (right - left) * FINER), np.uint8)
    # OpenCV's 0 is the centre of the first pixel, ours its corner.
    corners = (points - [left, top]) * FINER - 0.5
    cv2.fillPoly(fine, [np.round(corners * 2**SUBPIXEL_BITS).astype(np.int32)], 255, shift=SUBPIXEL_BITS)
    canvas[top:bottom, left:right] = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return canvas


def object_map(shapes: list[PlacedShape], size_hw: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Which object is on top in each pixel, (h, w): its position in the list, or -1."""
    top = np.full(size_hw, -1, np.int32)
    for number, shape in enumerate(shapes):
        top[coverage(shape.outline(), size_hw) > 127] = number
    return top


def visible_shares(shapes: list[PlacedShape], size_hw: tuple[int, int]) -> list[float]:
    """The fraction of each object's area that is inside the image and not hidden."""
    top = object_map(shapes, size_hw)
    seen = np.bincount(top[top >= 0], minlength=len(shapes))
    return [float(seen[number]) / max(_area(shape.outline()), 1.0) for number, shape in enumerate(shapes)]


def _area(points: Points) -> float:
    return float(cv2.contourArea(points.astype(np.float32)))


def _ring(count: int, *, radii: tuple[float, ...], first_deg: float = 0.0) -> Points:
    """Points around a circle, whose radii take turns."""
    angles = np.radians(first_deg) + np.arange(count) * 2 * np.pi / count
    lengths = np.array([radii[i % len(radii)] for i in range(count)])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]


def _plus(*, arm: float, reach: float) -> Points:
    """A cross of four arms, each `2 * arm` wide and `reach` long."""
    corners = np.array([[reach, arm], [arm, arm]])  # two corners a quarter, turned three times
    first = np.array([[reach, -arm]])
    quarter = np.concatenate([first, corners])
    step = np.array([[0.0, -1.0], [1.0, 0.0]])
    turned = [quarter]
    for _ in range(3):
        turned.append(turned[-1] @ step.T)
    return np.concatenate(turned)
