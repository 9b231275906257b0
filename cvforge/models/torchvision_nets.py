"""What torchvision's networks have in common here: their pretrained weights, and true boxes in their form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import nn
from torchvision.models import WeightsEnum

from cvforge.errors import CheckpointError
from cvforge.models import weights as weights_source
from cvforge.models.fit import load_fitting

HUB = "torchvision"
BACKGROUND, UNUSED = "__background__", "N/A"
"""How torchvision's list of categories names what is no object: COCO's numbers have gaps."""
COUNTER = "num_batches_tracked"


class TrueBoxes(Protocol):
    """The true boxes of a batch: `boxes_input_xyxy` (b, m, 4) and `class_ids` (b, m), padded with -1."""

    boxes_input_xyxy: torch.Tensor
    class_ids: torch.Tensor


def load_torchvision(
    net: nn.Module, weights: str | None, *, published: WeightsEnum, class_layers: Mapping[str, int]
) -> None:
    """Load a whole network that torchvision trained, except its class layers where the classes differ.

    Its detectors have a place for each of COCO's 90 numbers, of which 80 are objects. A network of 80 classes gets these,
    in their order, so that it finds what they name at once; for other objects they are as good a start as any.

    Args:
        net: torchvision's network.
        weights: null (stays random), `torchvision` (downloaded), or the file that it would download, as `file:PATH`.
        published: torchvision's entry for these weights.
        class_layers: prefixes of the layers whose size depends on the number of classes, and how many neighbouring rows
            of them belong to one class.

    Raises:
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """
    if weights is None:
        return
    if weights == HUB:
        tensors = _from_hub(published)
    elif weights_source.is_file(weights):
        tensors = weights_source.read_file(weights)
    else:
        raise CheckpointError(
            f"weights: found {weights!r}, accepted: null (random), {HUB} (downloaded), file:PATH to {published.url}"
        )
    state, tensors = net.state_dict(), dict(tensors)
    classes = {name for name in {*state, *tensors} if name.startswith(tuple(class_layers))}
    for name in classes & set(state) & set(tensors):
        rows = next(rows for prefix, rows in class_layers.items() if name.startswith(prefix))
        tensors[name] = _objects_only(
            tensors[name], like=state[name], categories=published.meta["categories"], rows_a_class=rows
        )
    if all(name in tensors and name in state and tensors[name].shape == state[name].shape for name in classes):
        classes = set()
    # Networks published with frozen batch normalisation have no counters.
    counters = {name for name in state if name.endswith(COUNTER) and name not in tensors}
    load_fitting(net, tensors, where=weights, ignored=classes | counters)


def boxes_of_images(targets: TrueBoxes) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Boxes (m', 4) float32 and class ids (m',) of each image, without padding and without boxes of no area."""
    images = []
    for boxes, class_ids in zip(targets.boxes_input_xyxy.float(), targets.class_ids, strict=True):
        keep = (class_ids >= 0) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        images.append((boxes[keep], class_ids[keep]))
    return images


def _objects_only(
    tensor: torch.Tensor, *, like: torch.Tensor, categories: Sequence[str], rows_a_class: int
) -> torch.Tensor:
    """The rows of a class layer (g * k * r, ...) that belong to real objects, where that gives as many as are asked for.

    Here g is the number of anchors, k of categories, r of rows of one class. A background comes first if there is one.
    """
    objects = [i for i, name in enumerate(categories) if name not in (BACKGROUND, UNUSED)]
    block = len(categories) * rows_a_class
    if tensor.shape == like.shape or len(tensor) % block:
        return tensor
    blocks = tensor.reshape(len(tensor) // block, len(categories), rows_a_class, *tensor.shape[1:])
    for kept in (objects, [0, *objects]):
        found = blocks[:, kept].reshape(-1, *tensor.shape[1:])
        if found.shape == like.shape:
            return found
    return tensor


def _from_hub(published: WeightsEnum) -> dict[str, torch.Tensor]:
    try:
        return dict(published.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network; a file that does not match its hash
        raise CheckpointError(
            f"weights {HUB}: cannot get {published.url} ({error}); without a network, download it elsewhere and set "
            "weights to file:PATH"
        ) from error
