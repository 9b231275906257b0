"""Architectures of timm by name: whole classifiers and feature pyramids, with their pretrained weights."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import timm
import torch
from timm.models import FeatureListNet
from torch import nn

from cvforge.errors import CheckpointError, ConfigError
from cvforge.models import weights as weights_source
from cvforge.models.fit import Fit, load_fitting
from cvforge.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise

HUB = "timm"
ACCEPTED = f"{HUB} (downloaded by name), {weights_source.ACCEPTED}"
WRAPPER_PREFIX = "model."
CLASSIFIER_STD = 0.01
"""Of a new last layer. timm's own start gives logits with a standard deviation up to 8 for some architectures, so that
the first steps would only unlearn it."""


def check_backbone(backbone: str) -> None:
    """Raise `ConfigError` with the nearest names where timm has no such architecture."""
    if timm.is_model(backbone):
        return
    near = difflib.get_close_matches(backbone, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists all names"
    raise ConfigError(f"backbone: timm {timm.__version__} has no architecture {backbone!r}; {hint}")


def normalise_for(backbone: str) -> Normalise:
    """The normalisation that the pretrained weights of a timm architecture expect."""
    pretrained = timm.get_pretrained_cfg(backbone)
    if pretrained is None:
        return Normalise(IMAGENET_MEAN, IMAGENET_STD)
    return Normalise(pretrained.mean, pretrained.std)


def build_classifier(
    backbone: str, *, num_classes: int, weights: str | None, drop_rate: float, drop_path_rate: float
) -> nn.Module:
    """A timm classifier; its last layer keeps the file's weights where the number of classes agrees, else it is new.

    Raises:
        ConfigError: timm has no such architecture.
        CheckpointError: the weights cannot be read or do not fit.
    """
    check_backbone(backbone)
    # timm leaves out what is None: some architectures have no such parameter.
    rates = {"drop_rate": drop_rate or None, "drop_path_rate": drop_path_rate or None}
    try:
        net = timm.create_model(backbone, num_classes=num_classes, pretrained=False, **rates)
    except TypeError as error:
        raise ConfigError(f"backbone {backbone}: cannot be built with {rates} ({error}); set the rates to 0") from error
    _start_small(net.get_classifier())
    if weights is not None:
        tensors = classifier_tensors(weights, backbone=backbone)
        load_fitting(net, tensors, where=weights, ignored=_other_classifier(net, tensors))
    return net


def build_features(backbone: str, *, strides: Sequence[int], weights: str | None) -> FeatureListNet:
    """A timm backbone that gives one feature map for each stride, highest resolution first.

    Raises:
        ConfigError: timm has no such architecture, or it has no maps of these strides.
        CheckpointError: the weights cannot be read or do not fit.
    """
    check_backbone(backbone)
    try:
        levels = list(timm.create_model(backbone, features_only=True, pretrained=False).feature_info.reduction())
    except (RuntimeError, AttributeError) as error:
        raise ConfigError(
            f"backbone {backbone}: timm offers no feature maps of it ({error}); choose another"
        ) from error
    absent = [stride for stride in strides if levels.count(stride) != 1]
    if absent:
        raise ConfigError(f"backbone {backbone}: no single feature map of stride {absent}; its strides are {levels}")
    indices = tuple(levels.index(stride) for stride in strides)
    net = timm.create_model(backbone, features_only=True, out_indices=indices, pretrained=False)
    if weights is not None:
        load_features(net, weights, backbone=backbone)
    return net


def load_features(net: nn.Module, weights: str, *, backbone: str) -> Fit:
    """Load classifier weights into a timm feature net, which has the same layers without the end.

    Raises:
        CheckpointError: the weights cannot be read or do not fit.
    """
    tensors = classifier_tensors(weights, backbone=backbone)
    own = {_feature_name(name) for name in net.state_dict()}
    beyond = {name for name in _reference(backbone) if _feature_name(name) not in own}
    return load_fitting(net, tensors, where=weights, ignored=beyond, same_name=_feature_name)


def classifier_tensors(weights: str, *, backbone: str) -> dict[str, torch.Tensor]:
    """The tensors of a classifier under timm's names.

    Args:
        weights: `timm`, `file:PATH`, a path, or `package:NAME`.
        backbone: timm architecture.

    Raises:
        CheckpointError: the source is unknown, cannot be reached or read, or holds another architecture.
    """
    if weights == HUB:
        return _from_hub(backbone)
    if weights_source.is_package(weights):
        return weights_source.read_package(weights, backbone=backbone, reference=lambda: _reference(backbone))
    if weights_source.is_file(weights):
        return weights_source.read_file(weights)
    raise CheckpointError(f"weights: found {weights!r}, accepted: {ACCEPTED}")


def _start_small(classifier: nn.Module) -> None:
    """Let a new last layer find all classes about equally likely."""
    if isinstance(classifier, nn.Linear):
        nn.init.normal_(classifier.weight, std=CLASSIFIER_STD)
        nn.init.zeros_(classifier.bias)


def _from_hub(backbone: str) -> dict[str, torch.Tensor]:
    pretrained = timm.get_pretrained_cfg(backbone)
    if pretrained is None or not pretrained.has_weights:
        raise CheckpointError(f"weights timm: timm publishes no weights of {backbone}; accepted: {ACCEPTED}")
    try:
        return dict(timm.create_model(backbone, pretrained=True).state_dict())
    except Exception as error:  # the hub's clients raise errors of four libraries without a common base
        packages = [f"package:{name}" for name, p in weights_source.PACKAGES.items() if p.backbone == backbone]
        instead = " or ".join(["file:PATH to a downloaded file", *packages])
        raise CheckpointError(
            f"weights timm: cannot get {pretrained.hf_hub_id or pretrained.url} ({type(error).__name__}: "
            f"{(str(error).splitlines() or [''])[0]}); without a network, set weights to {instead}"
        ) from error


def _reference(backbone: str) -> dict[str, torch.Tensor]:
    return dict(timm.create_model(backbone, pretrained=False).state_dict())


def _other_classifier(net: nn.Module, tensors: dict[str, torch.Tensor]) -> set[str]:
    """Names of the last layer where the file's is for other classes or absent, so that it stays random."""
    names = net.pretrained_cfg["classifier"]
    prefixes = tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
    state = net.state_dict()
    own = {name for name in state if name.startswith(prefixes)}
    if all(name in tensors and tensors[name].shape == state[name].shape for name in own):
        return set()
    return own | {name for name in tensors if name.startswith(prefixes)}


def _feature_name(name: str) -> str:
    """Feature nets of timm write `stages_0` for `stages.0`, and some hold the network as `model`."""
    return name.removeprefix(WRAPPER_PREFIX).replace(".", "_")
