"""Nearest enlargement in exported graphs takes the pixels that PyTorch takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cvforge.export.nearest import unambiguous_nearest
from cvforge.export.wrap import GraphSpec, trace
from cvforge_edge.types import Task


class Enlarge(nn.Module):
    """A net of the contract that says what it sees, in another size."""

    export_blocker = None

    def __init__(self, **how: object) -> None:
        super().__init__()
        self.how = how

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        enlarged = F.interpolate(images.permute(0, 3, 1, 2).float(), mode="nearest", **self.how)  # type: ignore[arg-type]
        return {"logits": enlarged.permute(0, 2, 3, 1)}


@pytest.mark.parametrize(
    ("size_hw", "how", "operators"),
    [
        ((4, 6), {"size": (8, 18)}, {"upsample_nearest2d"}),
        ((4, 6), {"scale_factor": 2}, {"upsample_nearest2d"}),
        ((4, 7), {"size": (7, 13)}, {"upsample_nearest2d", "slice"}),  # odd maps of a feature pyramid
        ((1, 3), {"size": (1, 5)}, {"upsample_nearest2d", "slice"}),
        ((12, 12), {"size": (25, 25)}, {"index_select"}),  # no whole factor gives these pixels
        ((7, 9), {"size": (4, 5)}, {"index_select"}),
        ((5, 7), {"scale_factor": 1.7}, {"index_select"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, while it copies a program
def test_every_pixel_is_the_one_that_pytorch_takes(
    size_hw: tuple[int, int], how: dict[str, object], operators: set[str]
) -> None:
    net = Enlarge(**how)
    program = trace(net, GraphSpec(Task.SEGMENTATION, size_hw, 3)).program
    image = torch.arange(3 * size_hw[0] * size_hw[1]).to(torch.uint8).reshape(1, *size_hw, 3)
    assert torch.equal(program.module()(image=image)["logits"], net.predict(image)["logits"])
    names = {str(node.target).split(".")[1] for node in program.graph.nodes if node.op == "call_function"}
    assert names & {"upsample_nearest2d", "slice", "index_select"} == operators


@pytest.mark.parametrize("large", range(2, 60))
def test_every_odd_or_even_map_of_a_pyramid_is_enlarged_by_two_and_cropped(large: int) -> None:
    x = torch.arange((large + 1) // 2, dtype=torch.float32).reshape(1, 1, 1, -1)
    expected = F.interpolate(x, size=(1, large), mode="nearest")
    assert expected.flatten().tolist() == [i // 2 for i in range(large)]
    found = unambiguous_nearest(x, [1, large], None)
    assert found is NotImplemented if large % 2 == 0 else torch.equal(found, expected)
