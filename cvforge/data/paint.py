"""Paints the scenes of the generated data sets: textured ground, clutter, shaded objects, light, blur and noise."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from cvforge.data.shapes import PlacedShape, coverage, random_color

ImageU8 = npt.NDArray[np.uint8]
ImageF32 = npt.NDArray[np.float32]
RIM_PX = 2
SHADOW_STRENGTH = 0.45


def paint_ground(rng: np.random.Generator, size_hw: tuple[int, int]) -> ImageF32:
    """A background: two muted colours mixed by soft clouds, with a faint pattern; (h, w, 3) float32 0-255, BGR."""
    first = np.array(random_color(rng, saturation=(20, 130), value=(60, 220)), np.float32)
    second = np.array(random_color(rng, saturation=(20, 130), value=(60, 220)), np.float32)
    clouds = _clouds(rng, size_hw, cells=4) * 0.65 + _clouds(rng, size_hw, cells=14) * 0.35
    ground = first + (second - first) * clouds[..., None]
    return ground + _pattern(rng, size_hw)[..., None] * np.float32(rng.uniform(4, 18))  # type: ignore[no-any-return]


def paint_clutter(image: ImageF32, rng: np.random.Generator, *, count: int) -> None:
    """Paint things that are none of the labels onto the image, in place: lines, bars, rings, blobs and letters."""
    height, width = image.shape[:2]
    for _ in range(count):
        color = random_color(rng, saturation=(30, 220), value=(50, 240))
        center = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        size = min(height, width) * math.exp(rng.uniform(math.log(0.04), math.log(0.18)))
        kind = rng.choice(["line", "bar", "ring", "blob", "letter"])
        mask = _clutter_mask(str(kind), rng, center=center, size=size, size_hw=(height, width))
        _blend(image, np.array(color, np.float32), mask, strength=float(rng.uniform(0.5, 0.95)))


def paint_shape(image: ImageF32, shape: PlacedShape) -> None:
    """Paint one object with its shadow onto the image, in place."""
    points = shape.outline()
    reach = shape.radius * (1.6 + max(abs(value) for value in shape.style.shadow_xy))
    window = _window(shape.center_xy, reach=reach, size_hw=(image.shape[0], image.shape[1]))
    if window is None:
        return
    rows, columns = window
    patch = image[rows, columns]
    local = points - [columns.start, rows.start]
    mask = coverage(local, (patch.shape[0], patch.shape[1])).astype(np.float32) / 255
    shadow = coverage(local + np.array(shape.style.shadow_xy) * shape.radius, (patch.shape[0], patch.shape[1]))
    soft = cv2.GaussianBlur(shadow.astype(np.float32) / 255, (0, 0), max(1.0, shape.radius * 0.12))
    patch *= 1 - SHADOW_STRENGTH * soft[..., None]
    center = (shape.center_xy[0] - columns.start, shape.center_xy[1] - rows.start)
    patch += (_surface(shape, center, mask) - patch) * mask[..., None]


def develop(image: ImageF32, rng: np.random.Generator, *, noise: np.random.Generator | None = None) -> ImageU8:
    """The photograph of a painted scene: uneven light, vignette, exposure, blur and noise; (h, w, 3) uint8 BGR.

    Args:
        image: (h, w, 3) float32, 0-255.
        rng: decides light, exposure, blur and the strength of the noise.
        noise: decides the noise itself; None: `rng` too.
    """
    height, width = image.shape[:2]
    corners = rng.uniform(0.62, 1.12, (3, 3)).astype(np.float32)
    light = cv2.resize(corners, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    vignette = (1 - rng.uniform(0, 0.25) * (x * x + y * y) / 2).astype(np.float32)
    lit = image * (light * vignette)[..., None]
    sigma = float(rng.choice([0.0, 0.5, 0.9, 1.3], p=[0.4, 0.3, 0.2, 0.1]))
    if sigma:
        lit = cv2.GaussianBlur(lit, (0, 0), sigma)  # type: ignore[assignment]
    exposed = 255 * np.power(np.clip(lit / 255, 0, 1), np.float32(rng.uniform(0.8, 1.25)))
    strength = np.float32(rng.uniform(1.5, 8.0))
    grain = (noise or rng).standard_normal(image.shape, np.float32)
    return np.clip(exposed + strength * grain, 0, 255).astype(np.uint8)


def _surface(shape: PlacedShape, center: tuple[float, float], mask: ImageF32) -> ImageF32:
    """Colours of an object around its centre in a window: light from one side, a texture, a dark rim."""
    height, width = mask.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across, along = (x + 0.5 - center[0]) / shape.radius, (y + 0.5 - center[1]) / shape.radius
    angle = math.radians(shape.style.shade_deg)
    shade = 1.0 + 0.22 * (across * math.cos(angle) + along * math.sin(angle))
    shade = shade * (1.0 + 0.12 * _texture(shape.style.texture, across, along, angle=angle))
    if shape.style.outline:
        inner = cv2.erode(mask, np.ones((2 * RIM_PX - 1, 2 * RIM_PX - 1), np.uint8))
        shade = shade * (1 - shape.style.outline * np.clip(mask - inner, 0, 1))
    return np.array(shape.style.color_bgr, np.float32) * shade[..., None].astype(np.float32)


def _texture(kind: str, across: ImageF32, along: ImageF32, *, angle: float) -> ImageF32 | float:
    """A pattern of -1 to 1 fixed to the object."""
    if kind == "stripes":
        return np.sign(np.sin(9 * (across * math.sin(angle) + along * math.cos(angle))))  # type: ignore[no-any-return]
    if kind == "dots":
        return np.where(np.sin(8 * across) * np.sin(8 * along) > 0.3, 1.0, -0.3)  # type: ignore[return-value]
    if kind == "grain":
        wave = np.sin(across * 37.1 + along * 61.7) * 43.7
        return 2 * (wave - np.floor(wave)) - 1  # type: ignore[no-any-return]
    return 0.0


def _clouds(rng: np.random.Generator, size_hw: tuple[int, int], *, cells: int) -> ImageF32:
    """Smooth random values of 0 to 1 with about `cells` bumps a side."""
    coarse = rng.random((cells, cells), np.float32)
    smooth = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 1)  # type: ignore[return-value]


def _pattern(rng: np.random.Generator, size_hw: tuple[int, int]) -> ImageF32:
    """Stripes, checks or weave of -1 to 1 over the whole ground."""
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(5, 22)
    u = (x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period)
    v = (y * math.cos(angle) - x * math.sin(angle)) * (2 * math.pi / period)
    kind = rng.choice(["stripes", "checks", "weave", "none"])
    if kind == "stripes":
        return np.sin(u)  # type: ignore[no-any-return]
    if kind == "checks":
        return np.tanh(3 * np.sin(u) * np.sin(v))  # type: ignore[no-any-return]
    if kind == "weave":
        return np.sin(u + 1.5 * np.sin(v / 2))  # type: ignore[no-any-return]
    return np.zeros(size_hw, np.float32)


def _clutter_mask(
    kind: str, rng: np.random.Generator, *, center: npt.NDArray[np.float64], size: float, size_hw: tuple[int, int]
) -> ImageU8:
    """Where one piece of clutter lies, (h, w) uint8 0-255."""
    mask = np.zeros(size_hw, np.uint8)
    x, y = int(center[0]), int(center[1])
    direction = rng.standard_normal(2)
    direction /= np.linalg.norm(direction) + 1e-9
    if kind == "line":
        start, end = (center - direction * size * 3).astype(int), (center + direction * size * 3).astype(int)
        cv2.line(mask, tuple(map(int, start)), tuple(map(int, end)), 255, int(rng.integers(1, 4)), cv2.LINE_AA)
    elif kind == "bar":
        side = np.array([-direction[1], direction[0]]) * size * 0.22
        along = direction * size * 1.6
        return coverage(np.array([-along - side, along - side, along + side, -along + side]) + center, size_hw)
    elif kind == "ring":
        extent = float(rng.uniform(90, 360))
        cv2.ellipse(mask, (x, y), (int(size), int(size)), 0, 0, extent, 255, int(rng.integers(2, 4)), cv2.LINE_AA)
    elif kind == "blob":
        angles = np.arange(16) * (2 * math.pi / 16)
        radii = size * (0.75 + 0.5 * np.convolve(np.tile(rng.random(16), 3), np.ones(5) / 5, "same")[16:32])
        stretch = np.array([1.5, 0.6])
        return coverage(np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] * stretch + center, size_hw)
    else:
        letter = chr(int(rng.integers(65, 91)))
        cv2.putText(mask, letter, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size / 16, 255, 2, cv2.LINE_AA)
    return mask


def _blend(image: ImageF32, color: ImageF32, mask: ImageU8, *, strength: float) -> None:
    """Lay a colour over the image where the mask is, in place."""
    left, top, width, height = cv2.boundingRect(mask)
    rows, columns = slice(top, top + height), slice(left, left + width)
    alpha = (mask[rows, columns].astype(np.float32) * np.float32(strength / 255))[..., None]
    image[rows, columns] += (color - image[rows, columns]) * alpha


def _window(center_xy: tuple[float, float], *, reach: float, size_hw: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the image within `reach` of a point, or None outside it."""
    left, right = max(0, int(center_xy[0] - reach)), min(size_hw[1], int(center_xy[0] + reach) + 1)
    top, bottom = max(0, int(center_xy[1] - reach)), min(size_hw[0], int(center_xy[1] + reach) + 1)
    if right <= left or bottom <= top:
        return None
    return slice(top, bottom), slice(left, right)
