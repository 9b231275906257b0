"""What a network's own features make of an image, in a few numbers: an output more, for statistics that notice drift.

A network of the contract names the layer (`embedding_layer`); nothing is trained for it and nothing is asked of its code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cvforge.errors import ExportError
from cvforge_edge.postprocess import EMBEDDING

WIDTH = 32
"""Numbers of an embedding: a covariance of 528 numbers, which 100 images say something about."""
_SIGNS = b"cvforge embedding signs"


def embedding_layer(net: nn.Module) -> str | None:
    """Name of the layer that a network gives its embedding from, or None where it gives none."""
    return getattr(net, "embedding_layer", None)


def predict_with_embedding(net: nn.Module, images: torch.Tensor, layer: str | None) -> dict[str, torch.Tensor]:
    """What `predict` gives, and the role `embedding` (b, d) float32, d at most 32, of what a layer gave on the way.

    Args:
        net: of the contract.
        images: (b, h, w, 3) uint8.
        layer: name of a layer that gives features: a map (b, c, h, w), pooled ones (b, c), or several maps, the deepest
            last. None for no embedding.

    Raises:
        ExportError: there is no such layer, `predict` does not come by it, or it gives something else.
    """
    if layer is None:
        return net.predict(images)  # type: ignore[no-any-return, operator]
    given: list[Any] = []
    where = f"{type(net).__name__}.embedding_layer = {layer!r}"
    try:
        module = net.get_submodule(layer)
    except AttributeError:
        known = ", ".join(name for name, _ in net.named_children())
        raise ExportError(f"{where}: there is no such layer; found {known}") from None
    hook = module.register_forward_hook(lambda module, inputs, output: given.append(output))
    try:
        outputs = net.predict(images)  # type: ignore[operator]
    finally:
        hook.remove()
    if not isinstance(outputs, dict):
        return outputs  # type: ignore[no-any-return]
    if not given:
        raise ExportError(f"{where}: predict does not come by this layer; name one that it runs")
    return {**outputs, EMBEDDING: fold(_pooled(given[-1], images=images.shape[0], where=where).float())}


def fold(features: torch.Tensor) -> torch.Tensor:
    """Features (b, c) as (b, d), d = min(c, 32), near where they are near: a count sketch.

    Channel i is added to number i modulo 32, with a sign that was drawn once. Inner products are kept on average, as by a
    random matrix of c x 32 numbers, for c signs. Up to 32 features stay as they are.
    Sources: Charikar et al. 2002, Finding Frequent Items in Data Streams; Weinberger et al. 2009, Feature Hashing for Large
    Scale Multitask Learning, section 2.
    """
    channels = features.shape[1]
    if channels <= WIDTH:
        return features
    signed = features * _signs(channels).to(features.device)
    signed = F.pad(signed, (0, -channels % WIDTH)) if channels % WIDTH else signed
    return signed.unflatten(1, (-1, WIDTH)).sum(dim=1)


def _signs(channels: int) -> torch.Tensor:
    """+1 or -1 for each channel (c,) float32: bits of a hash, since random generators change from version to version."""
    digest = hashlib.shake_256(_SIGNS).digest(-(-channels // 8))
    bits = [byte >> bit & 1 for byte in digest for bit in range(8)]
    return torch.tensor(bits[:channels], dtype=torch.float32) * 2 - 1


def _pooled(output: Any, *, images: int, where: str) -> torch.Tensor:
    """(b, c); `images` is taken from the shape: `len` would fix the number of images in a graph for any number."""
    if isinstance(output, Mapping):
        output = list(output.values())
    while isinstance(output, (list, tuple)) and output:
        output = output[-1]
    if isinstance(output, torch.Tensor) and output.ndim in (2, 4) and output.shape[0] == images:
        # By this operator the converters keep the memory order of the map; a plain mean costs a transposition.
        return F.adaptive_avg_pool2d(output, 1).flatten(1) if output.ndim == 4 else output
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    raise ExportError(
        f"{where}: the layer gives {found}, expected ({images}, c), ({images}, c, h, w) or a list of these"
    )
