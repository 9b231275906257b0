"""Which images a source means: every one of them once, in an order that stays."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from cvforge_edge.errors import SourceError
from cvforge_server.bulk import seen as seen_module
from cvforge_server.bulk.listing import list_source
from cvforge_server.bulk.seen import Seen


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def below(folder: Path, source: Path | str) -> list[str]:
    return [os.path.relpath(path, folder) for path in list_source(str(source))]


def test_a_folder_is_searched_with_all_that_are_below_it(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "deep/er/c.webp", "deep/d.tiff", "notes.txt", "deep/video.mp4")
    assert below(tmp_path, tmp_path) == ["a.PNG", "b.jpg", "deep/d.tiff", "deep/er/c.webp"]


def test_links_in_a_circle_end_and_a_folder_behind_a_link_is_entered_once(tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", "a.jpg", "sub/b.jpg")
    touch(tmp_path / "elsewhere", "c.jpg")
    (photos / "circle").symlink_to(photos)
    (photos / "far").symlink_to(tmp_path / "elsewhere")
    (photos / "far2").symlink_to(tmp_path / "elsewhere")
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert below(photos, photos) == ["a.jpg", "far/c.jpg", "sub/b.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_an_error_and_not_empty(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(SourceError, match="closed cannot be read"):
        below(tmp_path, tmp_path)
    (tmp_path / "closed").chmod(0o700)


def test_a_text_list_is_read_line_by_line_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_bytes("\ufeffa.jpg\r\n\n  \n/x/ü b.png\ncaf".encode() + b"\xe9.jpg")
    found = list(list_source("list.txt"))
    assert found == [f"{tmp_path}/a.jpg", "/x/ü b.png", os.fsdecode(os.fsencode(f"{tmp_path}/caf") + b"\xe9.jpg")]


def test_a_parquet_list_and_a_pattern_of_lists_and_images(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/b.jpg", "two/skipped.mp4")
    parquet.write_table(pa.table({"id": [1, 2], "path": ["/x/c.jpg", "/x/d.jpg"]}), tmp_path / "two" / "list.parquet")
    assert list(list_source(str(tmp_path / "two" / "list.parquet"))) == ["/x/c.jpg", "/x/d.jpg"]
    found = list(list_source(f"{tmp_path}/**/*"))
    assert sorted(found) == sorted(["/x/c.jpg", "/x/d.jpg", f"{tmp_path}/one/a.jpg", f"{tmp_path}/two/b.jpg"])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "no such file or folder; accepted: an image, a folder"),
        ("s3://bucket/*.jpg", "no such file or folder"),
        ("clip.mp4", r"another kind \(.mp4\)"),
        ("broken.parquet", "cannot be read as Parquet"),
        ("other.parquet", r"found the columns id \(int64\); accepted 'path'"),
        ("null.parquet", "has empty rows"),
    ],
)
def test_what_is_no_source_is_said_with_what_is_accepted(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "clip.mp4", "broken.parquet")
    parquet.write_table(pa.table({"id": [1]}), "other.parquet")
    parquet.write_table(pa.table({"path": pa.array(["a", None])}), "null.parquet")
    with pytest.raises(SourceError, match=words) as raised:
        list(list_source(source))
    assert raised.value.exit_code == 8


def test_seen_paths_are_given_once_also_after_many_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_module, "MERGED_TOGETHER", 10)
    seen = Seen()
    given = []
    for start in range(0, 100, 7):
        given += seen.add([f"/{number}" for number in (*range(start + 20), start, start)])
    assert given == [f"/{number}" for number in range(118)]
    assert seen.add(["/117", "/118", "/118"]) == ["/118"]
