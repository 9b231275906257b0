"""Rows of a part: what `tools/predict.py` says of the same image, or why there is nothing to say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import REPOSITORY
from cvforge_edge.errors import BackendError, BundleError, StorageError
from cvforge_edge.frame import Frame, Result
from cvforge_edge.image_io import read_image
from cvforge_edge.predictor import Predictor
from cvforge_edge.sinks.jsonl import json_record
from cvforge_server.bulk import worker as worker_module
from cvforge_server.bulk.part_name import PartName
from cvforge_server.bulk.schema import TASK_COLUMN
from cvforge_server.bulk.worker import Worker, warm_up
from server.bulk.conftest import NAMES, BundleMaker
from server.bulk.making import job_for, plan, rows, run_here
from server.pictures import every_kind, png_bomb


def lines_of_predict(bundle: Path, images: list[Path], **options: object) -> list[dict]:
    """What the lines of `tools/predict.py` have about each image."""
    with Predictor.from_bundle(bundle, **options) as predictor:
        results = []
        for path in images:
            image = read_image(path)
            frame = Frame(image, index=0, time_s=0.0, unix_time_s=None, source=str(path), captured_s=0.0)
            results.append(json_record(Result(frame, predictor.predict(image), predictor.manifest.labels)))
    return [{k: v for k, v in line.items() if k not in ("frame", "time_s", "unix_time_s")} for line in results]


def as_line(row: dict) -> dict:
    """A row in the form of a line."""
    assert (row["status"], row["error"]) == ("ok", None)
    line = {"source": row["path"], **{k: v for k, v in row.items() if k not in ("path", "status", "error")}}
    del line["fingerprint"]
    if "pixel_shares" in line:
        line["pixel_shares"] = {entry["label"]: entry["share"] for entry in line["pixel_shares"]}
    return line


@pytest.mark.parametrize("backend", ["onnxruntime", "litert"])
@pytest.mark.parametrize("model", ["detector", "classifier", "segmenter"])
def test_rows_say_what_the_lines_of_predict_say(
    model: str, backend: str, make_bundle: BundleMaker, photos: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(model)
    job = job_for(bundle, photos, tmp_path / "out", backend=backend)
    run_here(job)
    found = rows(tmp_path / "out")
    assert [as_line(row) for row in found] == lines_of_predict(bundle, [photos / n for n in NAMES], backend=backend)
    assert {row["fingerprint"] for row in found} == {job.settings.fingerprint}


def test_images_of_every_kind_are_read_as_predict_reads_them(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kinds"
    folder.mkdir()
    for name, data in every_kind().items():
        (folder / f"{name}.{name.partition('-')[0]}").write_bytes(data)
    for suffix in ("bmp", "tif"):
        cv2.imwrite(str(folder / f"plain.{suffix}"), np.full((20, 30, 3), (0, 0, 255), np.uint8))
    run_here(job_for(bundle, folder, tmp_path / "out"))
    assert [as_line(row) for row in rows(tmp_path / "out")] == lines_of_predict(bundle, sorted(folder.iterdir()))


def test_a_batch_says_what_single_images_say(make_bundle: BundleMaker, photos: Path, tmp_path: Path) -> None:
    bundle = make_bundle("batch")
    job = job_for(bundle, photos, tmp_path / "out", batch=True, batch_size=3)
    assert (job.settings.model, job.batch_size) == ("model_fp32_batch.onnx", 3)
    run_here(job, part_images=5)
    assert [as_line(row) for row in rows(tmp_path / "out")] == lines_of_predict(
        bundle, [photos / name for name in NAMES], batch=True
    )


def test_a_threshold_changes_what_is_found(bundle: Path, photos: Path, tmp_path: Path) -> None:
    run_here(job_for(bundle, photos, tmp_path / "all"))
    run_here(job_for(bundle, photos, tmp_path / "none", score_threshold=1.0))
    assert [len(row["detections"]) for row in rows(tmp_path / "all")] == [2] * 5
    assert [row["detections"] for row in rows(tmp_path / "none")] == [[]] * 5


BAD_IMAGES = {
    "empty.jpg": (b"", "empty", "the file is empty"),
    "text.jpg": (b"hello", "damaged_image", "damaged or not an image"),
    "cut.png": (every_kind()["png-RGB"][:-20], "damaged_image", "truncated PNG"),
    "bomb.png": (png_bomb(20_000, 20_000), "too_large", "20000 x 20000 pixels, accepted 200 megapixels"),
}


def test_each_bad_image_has_a_row_with_its_error_and_fails_alone(bundle: Path, photos: Path, tmp_path: Path) -> None:
    for name, (data, _, _) in BAD_IMAGES.items():
        (photos / name).write_bytes(data)
    listed = [*(str(photos / name) for name in (*NAMES, *BAD_IMAGES)), str(photos / "gone.jpg"), str(photos)]
    os.mkfifo(photos / "pipe.jpg")
    listed += [str(photos / "pipe.jpg"), "/a\0b.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    run_here(job_for(bundle, tmp_path / "list.txt", tmp_path / "out"), part_images=4)
    found = rows(tmp_path / "out")
    assert [row["path"] for row in found] == listed
    assert [row["status"] for row in found[:5]] == ["ok"] * 5
    expected = [(status, words) for _, status, words in BAD_IMAGES.values()]
    expected += [("unreadable", words) for words in ("no such image file", "not a plain file", "not a plain file")]
    for row, (status, words) in zip(found[5:], [*expected, ("unreadable", "null byte")], strict=True):
        assert row["status"] == status
        assert words in row["error"]
        assert (row["width"], row["height"], row["detections"]) == (None, None, None)


def test_a_name_that_is_no_text_is_read_and_written_with_escapes(bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "0.png").rename(os.fsdecode(os.fsencode(photos / "caf") + b"\xe9.png"))
    run_here(job_for(bundle, photos, tmp_path / "out"))
    found = {Path(row["path"]).name: row["status"] for row in rows(tmp_path / "out")}
    assert found[r"caf\xe9.png"] == "ok"


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_an_image_at_which_the_network_fails_is_told_with_the_reason(
    batch_size: int, make_bundle: BundleMaker, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    red = np.full((64, 96, 3), (0, 0, 255), np.uint8)
    cv2.imwrite(str(photos / "2.png"), red)
    job = job_for(make_bundle("batch"), photos, tmp_path / "out", batch=True, batch_size=batch_size)
    run = Predictor.raw_outputs_of

    def failing(self: Predictor, inputs_u8: np.ndarray) -> list:
        if any((one[..., 0] == 255).all() for one in inputs_u8):
            raise BackendError("no memory left for it")
        return run(self, inputs_u8)

    monkeypatch.setattr(Predictor, "raw_outputs_of", failing)
    run_here(job, part_images=5)
    found = rows(tmp_path / "out")
    assert [row["status"] for row in found] == ["ok", "ok", "inference_failed", "ok", "ok"]
    assert found[2]["error"] == f"{photos}/2.png: no memory left for it"
    assert (found[2]["width"], found[2]["height"], found[2]["classes"]) == (96, 64, None)


def test_an_unexpected_error_stays_with_its_image(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = worker_module.open_image

    def failing(path: str, **options: float) -> np.ndarray:
        if path.endswith("3.png"):
            raise ZeroDivisionError("nobody thought of it")
        return plain(path, **options)

    monkeypatch.setattr(worker_module, "open_image", failing)
    assert run_here(job_for(bundle, photos, tmp_path / "out")) == {"ok": 4, "inference_failed": 1}
    assert rows(tmp_path / "out")[3]["error"].endswith("3.png: unexpected ZeroDivisionError: nobody thought of it")


def dying_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a worker's process ends at an image, without a word."""
    plain = worker_module.open_image

    def dying(path: str, **options: float) -> np.ndarray:
        if Path(path).name == name:
            raise SystemExit  # stands for the end: what a killed process would leave is left, since nothing closes it
        return plain(path, **options)

    monkeypatch.setattr(worker_module, "open_image", dying)
    monkeypatch.setattr(worker_module.DeathNotes, "close", lambda self: None)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_image_that_ends_its_worker_is_passed_over_in_the_end(
    batch_size: int, make_bundle: BundleMaker, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_for(make_bundle("batch"), photos, tmp_path / "out", batch=True, batch_size=batch_size)
    plan(job, part_images=5)
    dying_at("2.png", monkeypatch)
    deaths = 0
    while not (job.parts / "part-00000-000000.parquet").exists():
        try:
            Worker(job).make_part(PartName(0, 0))
        except SystemExit:
            deaths += 1
        assert deaths < 10
    assert deaths == (3 if batch_size == 1 else 4)
    found = rows(tmp_path / "out")
    assert [row["status"] for row in found] == ["ok", "ok", "worker_died", "ok", "ok"]
    assert "3 workers ended without a word at this image" in found[2]["error"]


def test_a_bundle_that_changed_since_the_start_is_refused(
    bundle: Path, make_bundle: BundleMaker, photos: Path, tmp_path: Path
) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    bundle.rename(tmp_path / "first")
    make_bundle("classifier", formats=("onnx",)).rename(bundle)
    with pytest.raises(BundleError, match="the run began with") as raised:
        Worker(job)
    assert raised.value.exit_code == 7


def test_a_model_that_fails_at_its_first_run_is_told_before_the_workers_start(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Predictor, inputs_u8: np.ndarray) -> list:
        raise BackendError("no kernel")

    monkeypatch.setattr(Predictor, "raw_outputs_of", failing)
    with pytest.raises(BackendError, match=r"model_fp32.onnx fails at its first run: no kernel"):
        warm_up(job_for(bundle, photos, tmp_path / "out"))


def test_a_place_that_cannot_be_written_is_told_and_leaves_nothing(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    plan(job)
    job.parts.rmdir()
    with pytest.raises(StorageError, match="cannot be written") as raised:
        Worker(job).make_part(PartName(0, 0))
    assert raised.value.exit_code == 10


def test_a_part_has_the_columns_that_are_documented(make_bundle: BundleMaker, photos: Path, tmp_path: Path) -> None:
    import pandas
    from pyarrow import parquet

    kinds = {
        "detector": "list<element: struct<label: string, class_id: int32, score: double, box_xyxy: list<element: double>>>",
        "classifier": "list<element: struct<label: string, class_id: int32, score: double>>",
        "segmenter": "list<element: struct<label: string, share: double>>",
    }
    for (model, kind), column in zip(kinds.items(), ("detections", "classes", "pixel_shares"), strict=True):
        out = tmp_path / f"out-{model}"
        run_here(job_for(make_bundle(model), photos, out))
        schema = parquet.read_schema(out / "parts" / "part-00000-000000.parquet")
        fixed = {"path": "string", "status": "string", "error": "string", "width": "int32", "height": "int32"}
        assert {field.name: str(field.type) for field in schema} == {**fixed, "fingerprint": "string", column: kind}
        table = pandas.read_parquet(out / "parts")
        assert [*table.path.map(os.path.basename)] == [*NAMES]
        assert column in TASK_COLUMN.values()


def test_the_examples_of_the_document_read_the_results(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "4.png").write_bytes(b"x")
    run_here(job_for(bundle, photos, tmp_path / "predictions"))
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / "bulk.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(examples) == 2
    values: dict = {}
    for example in examples:
        exec(compile(example, "docs/bulk.md", "exec"), values)
    counts = capsys.readouterr().out
    assert re.search(r"ok +4\b.*damaged_image +1\b.*red +4\b.*blue +4\b", counts, re.S)
    assert values["failed"].to_pylist()[0]["path"] == str(photos / "4.png")
