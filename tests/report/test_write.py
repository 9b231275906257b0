"""Whole reports of untrained nets of every task, by `tools/report.py`: what the page shows is what the net says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from conftest import load_tool
from cvforge.cli import run_command
from cvforge.commands.model import open_model
from cvforge.config import build
from cvforge.config.load import load_resolved
from cvforge.report.plots import report_pictures
from cvforge.report.write import Report
from cvforge.runs import open_run
from page_reader import Page
from untrained_run import write_untrained_run

SMALL = ["data.val.count=6", "preprocess.size_hw=[64,64]"]
NETS = {
    "cls_demo": ["model.backbone=test_resnet"],
    "det_demo": ["model.backbone=test_resnet", "model.weights=null", "postprocess.score_threshold=0.005"],
    "seg_demo": ["model=lraspp"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: write_untrained_run(folder / f"{name}-1", name, [*SMALL, *nets]) for name, nets in NETS.items()}


@pytest.fixture(scope="module")
def reports(runs: dict[str, Path]) -> dict[str, Report]:
    from cvforge.commands.report import report_run

    return {name: report_run(path, overrides=[], limit=None) for name, path in runs.items()}


def page_of(report: Report) -> Page:
    return Page(report.page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NETS)
def test_the_page_is_one_file_that_loads_nothing(reports: dict[str, Report], name: str) -> None:
    text = reports[name].page.read_text(encoding="utf-8")
    found = Page(text)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "base", "form"}
    bare = re.sub(r"base64,[^\"]*", "", text)
    assert "://" not in bare
    assert "url(" not in bare
    assert not re.search(r"\son\w+=", bare)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert [attributes["href"] for tag, attributes in found.tags if tag == "a"] == [f"#{section}" for section in ids]
    assert len(text) < 2_000_000
    assert "has not come to its end" in found.text  # nobody trained it


@pytest.mark.parametrize("name", NETS)
def test_everything_that_is_seen_can_be_heard_and_reached_by_keyboard(reports: dict[str, Report], name: str) -> None:
    tags = page_of(reports[name]).tags
    assert [attributes for tag, attributes in tags if tag == "img" and not attributes.get("alt")] == []
    assert [attributes for tag, attributes in tags if tag == "svg" and not attributes.get("aria-label")] == []
    scrolled = [attributes for _, attributes in tags if attributes.get("class") == "scroll"]
    assert scrolled
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolled)
    assert [a.get("scope") for tag, a in tags if tag == "th"].count(None) == 0


@pytest.mark.parametrize("name", NETS)
def test_every_image_is_shown_once_with_truth_and_answer(reports: dict[str, Report], name: str) -> None:
    images = reports[name].images
    shown = [image.image_id for image in (*images.worst, *images.best)]
    dataset = build.build_dataset(load_resolved(open_run(reports[name].page).config), "val")
    assert sorted(shown) == sorted(dataset.image_id(i) for i in range(6))
    scores = [image.score for image in images.worst]
    assert scores == sorted(scores)
    for image in (*images.worst, *images.best):
        truth, answer = (
            cv2.imdecode(np.frombuffer(part, np.uint8), 1) for part in (image.truth_jpeg, image.model_jpeg)
        )
        assert max(truth.shape) == 480
        assert truth.shape == answer.shape
    pictures = 6 if name == "cls_demo" else 12  # words say the class of an image; boxes and masks are drawn beside it
    assert sum(tag == "img" for tag, _ in page_of(reports[name]).tags) == pictures


def test_the_matrix_of_a_classifier_is_that_of_its_answers(runs: dict[str, Path], reports: dict[str, Report]) -> None:
    model = open_model(runs["cls_demo"])
    dataset = build.build_dataset(load_resolved(open_run(runs["cls_demo"]).config), "val")
    samples = [dataset[i] for i in range(len(dataset))]
    said = [int(model.predictor.predict(sample.image_bgr).probs.argmax()) for sample in samples]
    expected = confusion_matrix([s.truth.class_id for s in samples], said, labels=range(len(dataset.labels)))
    values = json.loads(reports["cls_demo"].values.read_text())
    assert values["figures"]["confusion"] == expected.tolist()
    cells = [row[1:] for row in page_of(reports["cls_demo"]).rows if len(row) == len(dataset.labels) + 1][
        -len(dataset.labels) :
    ]
    matrix = [row[1:] for row in page_of(reports["cls_demo"]).rows if row[0] in dataset.labels][: len(dataset.labels)]
    assert matrix == [[str(count) if count else "·" for count in row] for row in expected.tolist()]
    assert cells


def test_costs_are_counted(reports: dict[str, Report], runs: dict[str, Path]) -> None:
    costs = reports["seg_demo"].costs
    net = build.load_net(open_run(runs["seg_demo"]))
    assert costs.parameters == sum(p.numel() for p in net.parameters())
    assert costs.checkpoint_bytes == open_run(runs["seg_demo"]).best_checkpoint.stat().st_size
    assert costs.latency.low_ms <= costs.latency.median_ms <= costs.latency.high_ms
    assert costs.multiplications > 0


def test_the_config_tells_what_differs_from_the_shipped_one(reports: dict[str, Report]) -> None:
    rows = page_of(reports["cls_demo"]).rows
    assert ["key", "this run", "cls_demo"] in rows
    assert ["data.val.count", "6", "200"] in rows


@pytest.mark.parametrize("name", NETS)
def test_pictures_for_trackers_are_pictures(reports: dict[str, Report], name: str) -> None:
    pictures = report_pictures(reports[name])
    charts = [chart.name for chart in (*reports[name].history, *reports[name].figures.charts)]
    images = [
        f"{kind}-{n}.jpg" for kind in ("worst", "best") for n in range(1, 1 + len(getattr(reports[name].images, kind)))
    ]
    assert list(pictures) == [*(f"{chart}.png" for chart in charts), "confusion.png", *images]
    assert all(cv2.imdecode(np.frombuffer(content, np.uint8), 1).std() > 5 for content in pictures.values())


def test_only_some_images_on_request_and_the_place_is_told(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main = load_tool("report").main
    assert run_command(main, [str(runs["cls_demo"]), "--limit", "4"]) == 0
    assert f"report: {runs['cls_demo'] / 'report.html'}" in capsys.readouterr().out
    assert json.loads((runs["cls_demo"] / "report.json").read_text())["images"] == 4


def test_bad_input_is_told(tmp_path: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    main = load_tool("report").main
    assert run_command(main, [str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert run_command(main, [str(runs["cls_demo"]), "optim.lr=1"]) == 2
    assert "a trained model stays as it was trained" in capsys.readouterr().err
    assert (
        run_command(main, [str(runs["cls_demo"]), "data.val.seed=99", "--limit", "1"]) == 0
    )  # it notes no fingerprint
    capsys.readouterr()
    record = json.loads((runs["cls_demo"] / "data.json").read_text())
    (runs["cls_demo"] / "data.json").write_text(json.dumps(record | {"fingerprints": {"val": "v1:abcd"}}))
    assert run_command(main, [str(runs["cls_demo"])]) == 4
    assert "but the run was validated on v1:abcd" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text((runs["cls_demo"] / "config.yaml").read_text())
    (tmp_path / "run" / "data.json").write_text((runs["cls_demo"] / "data.json").read_text())
    assert run_command(main, [str(tmp_path / "run")]) == 5
    assert "the run has no such checkpoint" in capsys.readouterr().err
