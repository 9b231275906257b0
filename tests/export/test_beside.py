"""What lies beside a bundle: real measurements, a page that parses, and nothing half-written or of another bundle."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cvforge.errors import StorageError
from cvforge.export import beside as beside_module
from cvforge.export.beside import plot_path, report_path, write_beside
from cvforge.export.measurements import measurements_path, read_measurements
from cvforge.export.report import ExportReport
from cvforge.html.page import Section, bullets, link, page, paragraph, table
from cvforge_edge.benchmark import measure as measure_module
from cvforge_edge.benchmark.cost import FileCost, NotMeasured
from cvforge_edge.bundle import file_sha256, open_bundle
from cvforge_edge.types import Task
from export.tiny import export_tiny, quiet_stages, tiny_calibration, tiny_plan
from page_reader import Page

NASTY = "a<b & \"c\" 'd' </script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    plan = tiny_plan(
        Task.DETECTION,
        formats=("onnx", "tflite"),
        precisions=("fp32", "int8"),
        metric_budget={"fp32": 0.001, "int8": 0.5},
        tensor_tolerance={"fp32": 1e-3, "int8": 0.9},
        labels=("red", "green", "blue"),
    )
    target = tmp_path_factory.mktemp("bundles") / "cells #1"
    return export_tiny(Task.DETECTION, target, plan=plan, calibration=tiny_calibration(Task.DETECTION))


def test_files_are_measured_and_the_page_shows_what_the_json_says(report: ExportReport) -> None:
    before = {path: path.read_bytes() for path in report.folder.rglob("*") if path.is_file()}
    beside = write_beside(report, measure=True, stages=quiet_stages)
    measured = read_measurements(report.folder)
    assert {path: path.read_bytes() for path in report.folder.rglob("*") if path.is_file()} == before
    paths = [model.path for model in report.manifest.models]
    assert [path for path in paths if isinstance(measured.files[path], FileCost)] == paths
    assert list(measured.int8) == ["model_int8.onnx", "model_int8.tflite"]
    text = beside.report.read_text(encoding="utf-8")
    found = Page(text)
    assert file_sha256(report.folder / "manifest.json") in found.text
    for path in paths:
        cost = measured.files[path]
        assert isinstance(cost, FileCost)
        row = next(row for row in found.rows if row[:2] == [path, cost.backend])
        network = cost.first.network
        assert row[2] == f"{network.p50_ms:.1f} [{network.p95_ms:.1f}]"
        assert f"{cost.memory_mb.median:.0f}" in row
    for verdict in report.verdicts:
        assert verdict.agreement is not None
        assert [verdict.model.path, *verdict.agreement.cells()] in found.rows
    assert ["class", "objects", "pictures", "checkpoint", *paths] in found.rows
    assert [row[0] for row in found.rows if row[0] in report.manifest.labels] == list(report.manifest.labels)
    assert "all layers with weights are in int8" in found.text


def test_the_page_loads_nothing_and_its_picture_is_the_file_beside_it(report: ExportReport) -> None:
    write_beside(report, measure=False, stages=quiet_stages)
    text = report_path(report.folder).read_text(encoding="utf-8")
    found = Page(text)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "base", "form"}
    sources = [attributes["src"] for _, attributes in found.tags if "src" in attributes]
    assert [source.partition(",")[0] for source in sources] == ["data:image/png;base64"]
    assert base64.b64decode(sources[0].partition(",")[2]) == plot_path(report.folder).read_bytes()
    assert "://" not in re.sub(r"base64,[^\"]*", "", text)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for tag, attributes in found.tags if tag == "a"]
    assert [target[1:] for target in links if target.startswith("#")] == ids
    assert [target for target in links if target[0] != "#"] == [
        "./cells%20%231/model_card.md",
        "./cells%20%231.measurements.json",
    ]


def test_files_left_unmeasured_on_request_say_so(report: ExportReport) -> None:
    beside = write_beside(report, measure=False, stages=quiet_stages)
    assert beside.measured.files == read_measurements(report.folder).files == {}
    assert "not measured (--no-measure)" in Page(beside.report.read_text()).text


@pytest.mark.parametrize(
    ("kind", "words"), [("crash", "ended by SIGSEGV"), ("error", "ended with code 11: first line")]
)
def test_a_file_whose_process_fails_is_not_measured_and_the_bundle_stays(
    report: ExportReport,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    words: str,
) -> None:
    monkeypatch.setattr(measure_module, "CHILD", "edge.broken_child")
    monkeypatch.setenv("BROKEN_CHILD", "int8.onnx")
    monkeypatch.setenv("BROKEN_CHILD_KIND", kind)
    beside = write_beside(report, measure=True, stages=quiet_stages)
    cost = beside.measured.files["model_int8.onnx"]
    assert isinstance(cost, NotMeasured)
    assert words in cost.reason
    assert f"model_int8.onnx is not measured: {cost.reason}" in caplog.text
    found = Page(beside.report.read_text())
    assert next(row for row in found.rows if row[:2] == ["model_int8.onnx", "not measured"])
    assert f"model_int8.onnx: {cost.reason}" in found.text
    assert isinstance(beside.measured.files["model_fp32.onnx"], FileCost)
    open_bundle(report.folder)


def test_what_lay_beside_an_earlier_bundle_is_gone_when_measuring_is_interrupted(
    report: ExportReport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (measurements_path(report.folder), plot_path(report.folder), report_path(report.folder)):
        path.write_text("of another bundle")

    def interrupt(*_arguments: object, **_names: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(beside_module, "measure_bundle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_beside(report, measure=True, stages=quiet_stages)
    assert [path.name for path in report.folder.parent.iterdir()] == [report.folder.name]
    assert "is complete; only measuring it was interrupted" in caplog.text
    open_bundle(report.folder)


@pytest.mark.parametrize("taken", [measurements_path, plot_path, report_path])
def test_a_place_that_is_taken_is_a_storage_error_and_the_bundle_stays(
    report: ExportReport, tmp_path: Path, taken: Callable[[Path], Path]
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(report.folder, copy)
    taken(copy).mkdir()
    with pytest.raises(StorageError, match=f"{taken(copy).name}: cannot be replaced .*the bundle itself is complete"):
        write_beside(dataclasses.replace(report, folder=copy), measure=False, stages=quiet_stages)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", taken(copy).name]


def test_labels_with_marks_of_html_are_shown_as_they_are(tmp_path: Path) -> None:
    labels = (NASTY, "green", "blue")
    report = export_tiny(Task.DETECTION, tmp_path / "b", plan=tiny_plan(Task.DETECTION, precisions=("fp32",)))
    renamed = dataclasses.replace(report, manifest=dataclasses.replace(report.manifest, labels=labels))
    text = write_beside(renamed, measure=False, stages=quiet_stages).report.read_text()
    assert NASTY not in text
    assert [row[0] for row in Page(text).rows if row[0] == NASTY] == [NASTY]


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.SEGMENTATION])
def test_other_tasks_have_a_page_with_their_classes(tmp_path: Path, task: Task) -> None:
    report = export_tiny(task, tmp_path / "b", plan=tiny_plan(task, precisions=("fp32",)))
    found = Page(write_beside(report, measure=False, stages=quiet_stages).report.read_text())
    assert [row[0] for row in found.rows if row[0] in report.manifest.labels] == list(report.manifest.labels)
    assert report.reference.primary in found.text


def test_everything_that_goes_into_a_page_is_escaped() -> None:
    parts = (paragraph(NASTY), bullets([NASTY]), table([NASTY], [[NASTY]]), link(NASTY, NASTY))
    text = page(NASTY, [], [Section("one", NASTY, parts)], footer=[])
    assert NASTY not in text
    found = Page(text)
    assert found.text.count(NASTY) == 9  # title, heading, its link, section, paragraph, bullet, header, cell, link
    assert found.rows == [[NASTY], [NASTY]]


def test_a_table_refuses_rows_that_do_not_fit_its_header() -> None:
    with pytest.raises(ValueError, match="found a row of 1 cells under 2 titles"):
        table(("a", "b"), [("1",)])
