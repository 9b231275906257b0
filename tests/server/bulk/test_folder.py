"""What a folder of results lets a run do: go on, take in what is new, and nothing that would mix two kinds of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from cvforge_edge.errors import SourceError, TakenError
from cvforge_server.bulk.folder import locked_folder
from cvforge_server.bulk.image_list import read_parts
from cvforge_server.bulk.part_name import PartName
from server.bulk.conftest import NAMES, BundleMaker
from server.bulk.making import job_for, make_photos, names_of, plan, rows, run_here


def test_a_list_is_divided_into_parts_in_its_order(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    found = plan(job)
    assert found.pending == (PartName(0, 0), PartName(0, 1), PartName(0, 2))
    assert (found.pending_images, found.new_images, found.done) == (5, 5, {})
    parts = [[Path(path).name for path in paths] for _, paths in read_parts(job.lists, 0)]
    assert parts == [[*NAMES[:2]], [*NAMES[2:4]], [*NAMES[4:]]]


def test_few_images_are_divided_among_all_workers(bundle: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "many", [f"{number:03}.png" for number in range(100)])
    found = plan(job_for(bundle, photos, tmp_path / "out"), part_images=None, workers=2)
    assert (len(found.pending), found.pending_images) == (8, 100)


def test_a_second_run_does_what_is_missing_and_nothing_else(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    run_here(job, most_parts=1)
    first = job.parts / "part-00000-000000.parquet"
    written_ns = first.stat().st_mtime_ns
    second = plan(job)
    assert second.pending == (PartName(0, 1), PartName(0, 2))
    assert (second.pending_images, second.new_images, second.done) == (3, 0, {"ok": 2})
    assert run_here(job) == {"ok": 3}
    assert names_of(tmp_path / "out", photos) == [*NAMES]
    assert first.stat().st_mtime_ns == written_ns
    assert plan(job).pending == ()


def test_images_that_are_new_since_are_added_and_each_stands_once(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    run_here(job)
    make_photos(photos, ["0-new.png", "deeper/6.png"])
    found = plan(job)
    assert (found.new_images, found.pending) == (2, (PartName(1, 0),))
    run_here(job)
    assert names_of(tmp_path / "out", photos) == [*NAMES, "0-new.png", "deeper/6.png"]


def test_a_list_that_names_an_image_twice_gets_it_once(bundle: Path, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_text(f"{photos}/1.png\n{photos}/../photos/1.png\n{photos}/0.png\n{photos}/1.png\n")
    run_here(job_for(bundle, source, tmp_path / "out"))
    assert names_of(tmp_path / "out", photos) == ["1.png", "0.png"]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other images", "rows gone"])
def test_a_part_that_is_not_whole_is_made_again(bundle: Path, photos: Path, tmp_path: Path, damage: str) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    run_here(job)
    expected = rows(tmp_path / "out")
    part = job.parts / "part-00000-000001.parquet"
    if damage == "other images":
        part.write_bytes((job.parts / "part-00000-000000.parquet").read_bytes())
    elif damage == "rows gone":
        table = parquet.read_table(part)
        parquet.write_table(table.slice(1), part)  # the metadata still say two
    else:
        part.write_bytes({"cut": part.read_bytes()[:-20], "empty": b"", "text": b"hello"}[damage])
    assert plan(job).pending == (PartName(0, 1),)
    run_here(job)
    assert rows(tmp_path / "out") == expected


def test_drafts_of_killed_workers_are_no_results_and_go(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    run_here(job, most_parts=1)
    for place in (job.parts / ".part-00000-000001.parquet.abc.draft", job.lists / ".list-00001.parquet.draft"):
        place.write_bytes(b"half")
    assert run_here(job) == {"ok": 3}
    assert sorted(path.name for path in job.parts.iterdir()) == [f"part-00000-00000{n}.parquet" for n in range(3)]
    assert [path.name for path in job.lists.iterdir()] == ["list-00000.parquet"]


def test_errors_are_done_again_only_when_asked_for(bundle: Path, photos: Path, tmp_path: Path) -> None:
    good = (photos / "3.png").read_bytes()
    (photos / "3.png").write_bytes(good[:-30])
    assert run_here(job_for(bundle, photos, tmp_path / "out")) == {"ok": 4, "damaged_image": 1}
    (photos / "3.png").write_bytes(good)
    assert plan(job_for(bundle, photos, tmp_path / "out")).pending == ()
    again = job_for(bundle, photos, tmp_path / "out", retry_errors=True)
    assert plan(again).pending == (PartName(0, 1),)
    assert run_here(again) == {"ok": 2}
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok"] * 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score_threshold": 0.7}, r"score_threshold: found None, asked for 0.7"),
        ({"max_megapixels": 3.0}, "max_megapixels: found 200.0, asked for 3.0"),
        ({"source": "0.png"}, "source: found '.*photos', asked for '.*photos/0.png'"),
        ({"backend": "litert"}, "model: found 'model_fp32.onnx', asked for 'model_fp32.tflite'; backend: found"),
        ({"bundle": "classifier"}, "task: found 'detection', asked for 'classification'; fingerprint: found"),
    ],
)
def test_results_of_another_bundle_or_other_options_are_left_alone(
    change: dict, words: str, make_bundle: BundleMaker, photos: Path, tmp_path: Path
) -> None:
    bundle = make_bundle("detector")
    first = job_for(bundle, photos, tmp_path / "out", backend="onnxruntime")
    run_here(first)
    expected = rows(tmp_path / "out")
    asked = {"bundle": bundle, "source": photos, "backend": "onnxruntime"} | change
    if asked["bundle"] == "classifier":
        asked["bundle"] = make_bundle("classifier")
    source = photos / asked.pop("source")
    other = job_for(asked.pop("bundle"), source, tmp_path / "out", **asked)
    with pytest.raises(TakenError, match=words) as raised:
        plan(other)
    assert raised.value.exit_code == 6
    assert rows(tmp_path / "out") == expected


def test_a_folder_with_parts_of_unknown_origin_is_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    run_here(job)
    (tmp_path / "out" / "bulk.json").unlink()
    with pytest.raises(TakenError, match="lists/ and parts/ hold files that no bulk.json and no list explain"):
        plan(job)


def test_parts_that_no_list_knows_are_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    run_here(job)
    (job.parts / "part-00007-000000.parquet").write_bytes((job.parts / "part-00000-000000.parquet").read_bytes())
    with pytest.raises(TakenError, match="1 files that no list of the folder knows, for instance part-00007-000000"):
        plan(job)


def test_a_misspelt_source_does_not_bind_the_folder(bundle: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        plan(job_for(bundle, tmp_path / "fotos", tmp_path / "out"))
    assert len(plan(job_for(bundle, photos, tmp_path / "out")).pending) == 3


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"name": "x"})])
def test_settings_that_are_not_ours_are_refused(content: str, bundle: Path, photos: Path, tmp_path: Path) -> None:
    plan(job_for(bundle, photos, tmp_path / "out"))
    (tmp_path / "out" / "bulk.json").write_text(content)
    with pytest.raises(TakenError, match="choose another folder"):
        plan(job_for(bundle, photos, tmp_path / "out"))


def test_two_runs_do_not_share_a_folder(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    with locked_folder(tmp_path / "out", job.settings):
        with pytest.raises(TakenError, match="another run works in this folder") as raised:
            plan(job)
        assert raised.value.exit_code == 6
    assert len(plan(job).pending) == 3


def test_a_source_that_lost_its_images_gives_none_of_them_an_error(bundle: Path, photos: Path, tmp_path: Path) -> None:
    job = job_for(bundle, photos, tmp_path / "out")
    run_here(job, most_parts=1)
    for path in photos.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match="found no image"):
        plan(job)


def test_a_list_of_images_that_are_elsewhere_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n")
    with pytest.raises(SourceError, match="none of the first 2 images is there, for instance .*/a.jpg") as raised:
        plan(job_for(bundle, tmp_path / "list.txt", tmp_path / "out"))
    assert raised.value.exit_code == 8
