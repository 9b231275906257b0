"""Segmentation with the decoders of segmentation-models-pytorch on any of its encoders, timm's included."""

from __future__ import annotations

import difflib

import segmentation_models_pytorch
import timm
import torch
from segmentation_models_pytorch.encoders import encoders, get_encoder_names
from torch import nn

from cvforge.errors import CheckpointError, ConfigError
from cvforge.models import weights as weights_source
from cvforge.models.depthwise import use_fast_depthwise
from cvforge.models.fit import load_fitting
from cvforge.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from cvforge.models.timm_nets import load_features, normalise_for
from cvforge_edge.types import Task

TIMM_PREFIX = "tu-"
HUB = "smp"
HUB_WEIGHTS = "imagenet"
COARSEST_STRIDE = 32
CLASSIFIER_PREFIXES = ("fc.", "classifier.", "last_linear.", "head.", "_fc.")
DECODERS = (
    "deeplabv3",
    "deeplabv3plus",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)


class SmpSegmenter(nn.Module):
    """An encoder and decoder whose logits stay at the decoder's own resolution: the device enlarges them once.

    Args:
        num_classes: number of classes.
        decoder: `fpn`, `unet`, `deeplabv3plus` or another name of `DECODERS`.
        encoder: `tu-NAME` for a timm architecture with feature maps, or an encoder of the library such as `resnet18`.
        weights: of the encoder: null (random), `file:PATH`, a path; for a timm encoder also `timm` and `package:NAME`;
            for the library's own encoders also `smp` (downloaded).

    Raises:
        ConfigError: the decoder or encoder is unknown, or they do not go together.
        CheckpointError: the weights cannot be read or do not fit.
    """

    task = Task.SEGMENTATION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone"

    def __init__(
        self,
        num_classes: int,
        decoder: str = "fpn",
        encoder: str = "tu-tf_efficientnet_lite0",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        _check_names(decoder, encoder)
        try:
            net = segmentation_models_pytorch.create_model(
                decoder, encoder_name=encoder, encoder_weights=None, classes=num_classes
            )
        except (ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
            raise ConfigError(f"decoder {decoder} with encoder {encoder}: cannot be built ({error})") from error
        if weights is not None:
            _load_encoder(net.encoder, encoder, weights)
        self.normalise = _normalise_for(encoder)
        self.backbone = net.encoder
        self.decoder = net.decoder
        self.head = net.segmentation_head[0]  # without the enlargement that follows it
        use_fast_depthwise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (b, c, h/s, w/s) of images (b, h, w, 3) uint8 RGB; s is the decoder's stride, 1 to 8.

        Raises:
            ConfigError: height or width is no multiple of 32, so that maps of two levels would not meet.
        """
        height, width = images.shape[1:3]
        if height % COARSEST_STRIDE or width % COARSEST_STRIDE:
            raise ConfigError(
                f"preprocess.size_hw: found [{height}, {width}], but SmpSegmenter needs multiples of {COARSEST_STRIDE}"
            )
        features = self.backbone(self.normalise(images))
        return self.head(self.decoder(features))  # (b, c, h/s, w/s)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`logits` (b, h/s, w/s, c) of images (b, h, w, 3) uint8 RGB."""
        return {"logits": self.forward(images).float().permute(0, 2, 3, 1)}


def _check_names(decoder: str, encoder: str) -> None:
    wrong = []
    if decoder not in DECODERS:
        wrong.append(f"decoder: found {decoder!r}, accepted {', '.join(DECODERS)}")
    name = encoder.removeprefix(TIMM_PREFIX)
    known = timm.list_models() if encoder.startswith(TIMM_PREFIX) else get_encoder_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        wrong.append(f"encoder: unknown {encoder!r}{hint} (tu-NAME for timm's, NAME for the library's own)")
    if wrong:
        raise ConfigError("; ".join(wrong))


def _normalise_for(encoder: str) -> Normalise:
    if encoder.startswith(TIMM_PREFIX):
        return normalise_for(encoder.removeprefix(TIMM_PREFIX))
    settings = encoders[encoder].get("pretrained_settings", {}).get(HUB_WEIGHTS, {})
    return Normalise(settings.get("mean") or IMAGENET_MEAN, settings.get("std") or IMAGENET_STD)


def _load_encoder(encoder_net: nn.Module, encoder: str, weights: str) -> None:
    if encoder.startswith(TIMM_PREFIX):
        load_features(encoder_net, weights, backbone=encoder.removeprefix(TIMM_PREFIX))
        return
    if weights == HUB:
        tensors = _from_hub(encoder)
    elif weights_source.is_file(weights):
        tensors = weights_source.read_file(weights)
    else:
        raise CheckpointError(
            f"weights of encoder {encoder}: found {weights!r}, accepted: {HUB} (downloaded), file:PATH"
        )
    ends = {name for name in tensors if name.startswith(CLASSIFIER_PREFIXES)} - set(encoder_net.state_dict())
    load_fitting(encoder_net, tensors, where=weights, ignored=ends)


def _from_hub(encoder: str) -> dict[str, torch.Tensor]:
    try:
        net = segmentation_models_pytorch.encoders.get_encoder(encoder, weights=HUB_WEIGHTS)
    except Exception as error:  # the hub's clients raise errors of several libraries without a common base
        raise CheckpointError(
            f"weights smp: cannot get {HUB_WEIGHTS} weights of {encoder} ({type(error).__name__}); "
            "without a network, set weights to file:PATH"
        ) from error
    return dict(net.state_dict())
