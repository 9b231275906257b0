"""One door from YAML to a checked config: what comes through it, and what it says when something does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from cvforge.config.catalog import CONFIGS
from cvforge.config.load import composed_yaml, load, load_resolved, resolved_yaml
from cvforge.config.schema import Config
from cvforge.errors import ConfigError

DEMO = "det_demo"


def problems_of(config: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config, list(overrides))
    return str(caught.value).splitlines()


def test_null_takes_a_group_out() -> None:
    config = load(DEMO, ["augment=null"])
    assert config.augment is None
    assert load(DEMO, ["debug=null"]) == load(DEMO, [])


def test_a_config_is_found_with_and_without_suffix_and_by_path() -> None:
    by_name = load(DEMO, [])
    assert load(f"{DEMO}.yaml", []) == by_name
    assert load(str(CONFIGS / f"{DEMO}.yaml"), []) == by_name


def test_values_have_the_types_of_the_schema() -> None:
    config = load(DEMO, ["optim.lr=1", "trainer.devices=2", "optim.ema_decay=null"])
    assert isinstance(config, Config)
    assert (config.optim.lr, type(config.optim.lr)) == (1.0, float)
    assert (config.trainer.devices, type(config.trainer.devices)) == (2, int)
    assert config.optim.ema_decay is None
    assert config.data.train["size_hw"] == config.preprocess.size_hw
    assert type(config.data.train) is dict


def test_an_override_wins_over_the_file_and_a_debug_option_over_both() -> None:
    assert load(DEMO, ["trainer.max_epochs=7"]).trainer.max_epochs == 7
    assert load(DEMO, ["debug=tiny"]).trainer.max_epochs == 1
    assert load(DEMO, ["debug=tiny", "trainer.max_epochs=3"]).trainer.max_epochs == 3


def test_a_config_of_ones_own_elsewhere_finds_the_groups_and_may_bring_its_own(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text(
        "_target_: cvforge.models.edge_detector.EdgeDetector\n"
        "num_classes: ${data.num_classes}\nbackbone: mobilenetv4_conv_small\nneck_channels: 32\n"
    )
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [det_demo, {override model: tiny}, _self_]\nrun: {name: mine}\noptim: {lr: 0.5}\n")
    config = load(str(mine), ["loss=detection"])
    assert (config.run.name, config.optim.lr, config.model["neck_channels"]) == ("mine", 0.5, 32)


def test_loading_leaves_the_current_folder_and_its_content_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load(DEMO, [])
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_relative_root_counts_from_the_current_folder_and_a_tilde_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "coco").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    for root in ("coco", "~/coco", "${oc.env:MY_DATA}/coco"):
        assert load("det_coco", [f"data.root={root}"]).data.root == str(tmp_path / "coco")


def test_a_path_with_characters_that_hydra_does_not_know_needs_no_quotes(tmp_path: Path) -> None:
    for name in ("a&b (copy)", "it's", "50%!", "ünïcode"):
        (tmp_path / name).mkdir()
        assert load("det_coco", [f"data.root={tmp_path}/{name}"]).data.root == str(tmp_path / name)


def test_the_resolved_yaml_reads_back_to_an_equal_config(tmp_path: Path) -> None:
    config = load("seg_demo", ["callbacks.summary._target_=pytorch_lightning.callbacks.ModelSummary", "run.name='7'"])
    path = tmp_path / "config.yaml"
    path.write_text(resolved_yaml(config), encoding="utf-8")
    assert "${" not in path.read_text(encoding="utf-8")
    assert load_resolved(path) == config
    assert load_resolved(path, ["trainer.max_epochs=99"]).trainer.max_epochs == 99


def test_a_run_can_be_read_where_its_data_are_not(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    root.mkdir()
    path = tmp_path / "config.yaml"
    path.write_text(resolved_yaml(load("det_coco", [f"data.root={root}"])), encoding="utf-8")
    root.rmdir()
    assert load_resolved(path).data.root == str(root)
    with pytest.raises(ConfigError, match="no such folder"):
        load_resolved(path, require_data=True)


def test_the_composed_yaml_shows_what_is_still_missing() -> None:
    shown = yaml.safe_load(composed_yaml("det_coco", []))
    assert shown["data"]["root"] == "???"
    assert shown["optim"]["min_lr_factor"] == Config().optim.min_lr_factor


def test_a_missing_root_says_what_is_missing_and_how_to_get_it() -> None:
    assert problems_of("det_coco") == [
        "det_coco.yaml: 1 problem",
        "  data.root: missing: give data.root=/path/to/coco (a folder with annotations/, train2017/ and val2017/); "
        "see data/README.md#coco [configs/data/coco.yaml]",
    ]
    for nothing in ("data.root=null", "data.root=", "data.root=''"):
        assert "data.root: missing: give data.root=/path/to/coco" in problems_of("det_coco", nothing)[1]


def test_a_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    assert (
        f"data.root: no such folder: {tmp_path}/no; give data.root="
        in problems_of("det_bccd", f"data.root={tmp_path}/no")[1]
    )


def test_a_root_for_generated_data_is_not_passed_over(tmp_path: Path) -> None:
    assert problems_of(DEMO, f"data.root={tmp_path}") == [
        "det_demo.yaml: 1 problem",
        f"  data.root: found {tmp_path}, but these data take no root; give data.root=null [command line]",
    ]


def test_several_problems_are_reported_at_once_each_with_key_found_and_accepted() -> None:
    lines = problems_of(
        DEMO,
        "+model.widht=2",
        "optim.lr=fast",
        "trainer.max_epochz=3",
        "data.batch_size=0",
        "preprocess.resize=stretched",
    )
    assert lines[0] == "det_demo.yaml: 5 problems"
    assert "  optim.lr: found 'fast' (text), expected a number [command line]" in lines
    assert any(
        line.startswith("  trainer.max_epochz: unknown key; did you mean 'max_epochs'? accepted:") for line in lines
    )
    assert "  data.batch_size: found 0, expected a whole number >= 1 [command line]" in lines
    assert (
        "  preprocess.resize: found 'stretched'; did you mean 'stretch'? accepted: center_crop, letterbox, stretch "
        "[command line]" in lines
    )
    assert any("model.widht: unknown key of cvforge.models.edge_detector.EdgeDetector" in line for line in lines)


def test_a_problem_names_the_file_that_set_the_key(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [det_demo, _self_]\nmodel: {neck_channels: wide}\n")
    assert problems_of(str(mine))[1:] == [
        f"  model.neck_channels: found 'wide' (text), expected a whole number [{mine}]"
    ]


def test_an_unknown_section_is_not_passed_over() -> None:
    assert problems_of(DEMO, "+trainr.max_epochs=3")[1].startswith("  trainr: unknown key; did you mean 'trainer'?")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("run.name=3", "run.name: found 3 (a whole number), expected text; quote it: \"run.name='3'\""),
        ("run.seed=1.0", "run.seed: found 1.0 (a number), expected a whole number; write 1"),
        ("run.seed=true", "run.seed: found True (true or false), expected a whole number"),
        ("run.seed=-1", "run.seed: found -1, expected a whole number in 0..4294967295"),
        ("run.name=a/b", "run.name: found 'a/b', expected letters, digits"),
        ("trainer.progress=1", "trainer.progress: found 1 (a whole number), expected true or false"),
        ("optim=null", "optim: found null, expected a mapping"),
        ("model=null", "model: missing: name what to build with _target_"),
        ("optim.lr=0", "optim.lr: found 0, expected a number > 0"),
        ("optim.lr=nan", "optim.lr: found nan, expected a number > 0"),
        ("optim.lr=null", "optim.lr: found null, expected a number"),
        ("optim.warmup_epochs=500", "optim.warmup_epochs: found 500, expected at most trainer.max_epochs"),
        (
            "task=segmentation",
            "postprocess.kind: found 'detection_nms' for task segmentation; accepted: segmentation_logits",
        ),
        ("task=detecton", "task: found 'detecton'; did you mean 'detection'?"),
        ("preprocess.size_hw=[320]", "preprocess.size_hw: found [320], accepted two whole numbers"),
        ("preprocess.size_hw=[320,4]", "preprocess.size_hw: found"),
        ("preprocess.size_hw=[320,a]", "preprocess.size_hw[1]: found 'a' (text), expected a whole number"),
        ("preprocess.pad_value=300", "preprocess.pad_value: found 300, accepted whole numbers in 0..255"),
        ("export.formats=[onnx,tflte]", "export.formats: found 'tflte'; did you mean 'tflite'?"),
        ("export.metric_budget.fp32=-1", "export.metric_budget.fp32: found -1, expected a number >= 0"),
        ("model.num_classes=7", "model.num_classes: found 7, but data.num_classes is 5; write ${data.num_classes}"),
        ("data.labels=[a,b]", "data.labels: found 2 names, but data.num_classes is 5"),
        ("loss=classification", "loss._target_: CrossEntropy is for classification, but task is detection"),
        ("augment=segmentation", "augment._target_: SegmentationAugment is for segmentation, but task is detection"),
        ("model=lraspp", "model._target_: LRASPP is for segmentation, but task is detection"),
        (
            "metric._target_=cvforge.metrics.segmentation.MeanIoU",
            "metric._target_: MeanIoU is for segmentation, but task is detection",
        ),
        ("trainer.devices=-3", "trainer.devices: found -3, expected auto, -1 (all), or a whole number >= 1"),
        ("trainer.devices=two", "trainer.devices: found 'two', expected auto"),
        ("trainer.strategy=dpp", "trainer.strategy: found 'dpp'; did you mean 'ddp'?"),
        ("loss=null", "loss: missing: EdgeDetector does not compute its own; choose one, like loss=detection"),
        ("data.val=null", "data.val: found null, expected a mapping"),
        ("model.backbone=???", "model.backbone: missing: give model.backbone=VALUE"),
        (
            "model.neck_channels=${data.num_clases}",
            "points to a key that does not exist; did you mean 'data.num_classes'?",
        ),
        ("model.neck_channels=${oc.env:CVFORGE_NO_SUCH}", "Environment variable 'CVFORGE_NO_SUCH' not found"),
    ],
)
def test_a_wrong_value_is_refused_with_useful_words(override: str, words: str) -> None:
    assert words in "\n".join(problems_of(DEMO, override))


def test_segmentation_of_more_classes_than_a_class_map_holds_is_refused() -> None:
    assert "data.num_classes: found 256, expected at most 255" in "\n".join(
        problems_of("seg_demo", "data.num_classes=256")
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model=ssdlit", "'model=ssdlit': no such option; did you mean 'ssdlite'? accepted: classifier_lite0"),
        ("optim.lr=[1", "'optim.lr=[1': not an override"),
        ("trainer", "'trainer': not an override"),
        ("optim.lr=1,2", "'optim.lr=1,2': several values"),
        ("hydra.run.dir=x", "Hydra's own settings have no effect here"),
    ],
)
def test_an_override_that_is_not_understood_is_quoted(override: str, words: str) -> None:
    lines = problems_of(DEMO, override, "loss=detecton")
    assert words in lines[1]
    assert "'loss=detecton': no such option; did you mean 'detection'?" in lines[2]


def test_an_unknown_config_suggests_the_nearest_name() -> None:
    assert problems_of("det_coc.yaml")[0].startswith("--config det_coc.yaml: no such config; did you mean 'det_coco'?")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c\n", "line 1: not YAML: mapping values are not allowed here"),
        ("a: 1\na: 2\n", "line 2: not YAML: found duplicate key a"),
        ("- a\n", "found a list ['a'] at the top, expected keys with values"),
        ("a: '${'\n", "an interpolation like ${key} is malformed"),
        ("defaults: [{model: nope}]\n", "model=nope: no such option; accepted: classifier_lite0"),
        ("a: ${b}\nb: ${a}\n", "a: ${b}: Recursive interpolation detected"),
        ("defaults: [det_demo, _self_]\noptim: [1]\n", "Cannot merge DictConfig with ListConfig"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_config_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    message = "\n".join(problems_of(str(path)))
    assert words in message
    assert "broken.yaml" in message


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(os.urandom(8) + b"\xff\xfe\x00")
    assert "binary.yaml" in problems_of(str(path))[0]


def test_a_path_with_unusual_characters_works(tmp_path: Path) -> None:
    folder = tmp_path / "it's a [test], a=b"
    folder.mkdir()
    (folder / "mine.yaml").write_text("defaults: [det_demo, _self_]\n")
    assert load(str(folder / "mine.yaml"), []).run.name == "det_demo"
