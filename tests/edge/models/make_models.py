"""Build the tiny networks of the edge tests: `python tests/edge/models/make_models.py` (needs torch and litert-torch).

Their weights are set by hand, so a test can say what they answer. Input: 32 x 48 uint8 RGB. `redness` of a pixel is
R - max(G, B), `blueness` is B - max(R, G), both of values in 0..1.
- detector: the 24 cells of 8 x 8 pixels are the boxes; class 0 (red) scores sigmoid(20 * mean redness - 10), class 1
  (blue) the same for blueness.
- classifier: softmax of 4 * mean redness, 4 * mean blueness, and 1.
- segmenter: for each cell of 4 x 4 pixels the logits 1 (background), 4 * mean redness, 4 * mean blueness.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLDER = Path(__file__).parent
HEIGHT, WIDTH = 32, 48
CELL = 8


def colourfulness(image: Tensor) -> Tensor:
    """Redness and blueness of each pixel: (1, h, w, 3) uint8 -> (1, 2, h, w)."""
    red, green, blue = (image.float() / 255.0).permute(0, 3, 1, 2).split(1, dim=1)
    return torch.cat([red - torch.maximum(green, blue), blue - torch.maximum(red, green)], dim=1)


class Detector(nn.Module):
    """Red and blue cells."""

    def __init__(self) -> None:
        super().__init__()
        top, left = torch.meshgrid(torch.arange(0, HEIGHT, CELL), torch.arange(0, WIDTH, CELL), indexing="ij")
        corners = torch.stack([left, top, left + CELL, top + CELL], dim=-1)
        self.register_buffer("cells", corners.reshape(1, -1, 4).float())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        means = F.avg_pool2d(colourfulness(image), CELL)
        scores = torch.sigmoid(means.flatten(2).transpose(1, 2) * 20 - 10)
        return {"boxes": self.cells + scores[..., :1] * 0, "scores": scores}


class Classifier(nn.Module):
    """Red, blue or neither."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        means = colourfulness(image).mean(dim=(2, 3)) * 4
        return {"probs": torch.softmax(torch.cat([means, means[:, :1] * 0 + 1], dim=1), dim=1)}


class Segmenter(nn.Module):
    """Background, red or blue."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        means = F.avg_pool2d(colourfulness(image), 4) * 4
        return {"logits": torch.cat([means[:, :1] * 0 + 1, means], dim=1).permute(0, 2, 3, 1)}


def main() -> None:
    """Write every network in both formats."""
    import litert_torch

    logging.disable(logging.WARNING)
    image = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8)
    for name, net in (("detector", Detector()), ("classifier", Classifier()), ("segmenter", Segmenter())):
        net.eval()
        names = list(net(image))
        litert_torch.convert(net, sample_kwargs={"image": image}).export(str(FOLDER / f"{name}.tflite"))
        program = torch.onnx.export(
            net, (image,), dynamo=True, opset_version=18, input_names=["image"], output_names=names, verbose=False
        )
        for node in program.model.graph:
            node.metadata_props.clear()
            node.doc_string = None
        program.save(FOLDER / f"{name}.onnx", external_data=False)


if __name__ == "__main__":
    main()
