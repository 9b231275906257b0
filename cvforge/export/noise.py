"""How much noise int8 puts on a network, and which layers put it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NO_NOISE_DB = 200.0
NOISE_IMAGES = 4
Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        name: by which it is left in float.
        kind: its operator.
        output: name of the tensor that it gives, in the float and in the int8 network.
        source: name of the tensor that it reads.
    """

    name: str
    kind: str
    output: str
    source: str


@dataclass(frozen=True)
class LayerNoise:
    """What int8 does to one layer.

    Attributes:
        name: of the layer.
        kind: its operator.
        sqnr_db: ratio of signal to quantisation noise of its output, with all noise that came before it, in decibel.
        added: noise that the layer itself adds, as a fraction of its signal's power: of its output less of its input.
    """

    name: str
    kind: str
    sqnr_db: float
    added: float


def noise_images(inputs_u8: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The few calibration images on which noise is measured: spread over all, since folders are sorted by class."""
    chosen = np.linspace(0, len(inputs_u8) - 1, min(NOISE_IMAGES, len(inputs_u8))).round().astype(int)
    return [inputs_u8[index] for index in chosen]


def layer_noise(layers: Sequence[Layer], reference: Sequence[Tensors], found: Sequence[Tensors]) -> list[LayerNoise]:
    """The noise of every layer over some images, the layer that adds most first.

    Args:
        layers: in any order.
        reference: tensors of the float network by name, one entry an image; a layer's source may be missing.
        found: the same tensors of the int8 network, as real numbers.
    """
    ratios: dict[str, float] = {}
    for name in {name for layer in layers for name in (layer.output, layer.source)}:
        if all(name in tensors for tensors in (*reference, *found)):
            ratios[name] = _noise_ratio([t[name] for t in reference], [t[name] for t in found])
    rows = [
        LayerNoise(
            name=layer.name,
            kind=layer.kind,
            sqnr_db=round(_decibel(ratios[layer.output]), 2),
            added=max(0.0, ratios[layer.output] - ratios.get(layer.source, 0.0)),
        )
        for layer in layers
        if layer.output in ratios
    ]
    return sorted(rows, key=lambda row: -row.added)


def _noise_ratio(reference: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """Power of the difference as a fraction of the signal's, over all images."""
    signal = sum(float(np.square(x, dtype=np.float64).sum()) for x in reference)
    noise = sum(float(np.square(x.astype(np.float64) - y).sum()) for x, y in zip(reference, found, strict=True))
    return noise / max(signal, 1e-30)


def _decibel(noise_ratio: float) -> float:
    return min(NO_NOISE_DB, -10 * float(np.log10(max(noise_ratio, 1e-30))))
