"""Hard frames stay within their bounds whatever comes, survive restarts, full disks and kills, and are never half there."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest

import cvforge_edge.evidence.folder as folder_module
import cvforge_edge.private_file as private_file
from cvforge_edge.errors import StorageError, UsageError
from cvforge_edge.image_io import read_image
from edge.evidence_frames import SHA256, bundle_of, files_in, noise, open_keeper, reason, seen

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_fsync(monkeypatch) -> None:
    monkeypatch.setattr(private_file.os, "fsync", lambda _: None)


def values(folder: Path) -> list[float]:
    records = sorted((folder / "frames").glob("*.json"))
    return sorted(json.loads(record.read_text())["reasons"][0]["value"] for record in records)


def test_thousands_of_hard_frames_stay_within_number_and_bytes(tmp_path, no_fsync):
    keeper = open_keeper(tmp_path / "e", max_frames=40, max_bytes=150_000)
    for index in range(3000):
        keeper.offer(seen(image=noise(index), index=index), (reason(value=(index * 7919 % 1000) / 1000),))
        if index % 50 == 0:
            kept = list((tmp_path / "e" / "frames").iterdir())
            assert sum(path.stat().st_size for path in kept) <= 150_000
            assert len([path for path in kept if path.suffix == ".json"]) <= 40
    assert keeper.folder.size_bytes == sum(p.stat().st_size for p in (tmp_path / "e" / "frames").iterdir())
    assert min(values(tmp_path / "e")) > 0.9  # of values spread over 0..1 the best are there
    assert keeper.stored + keeper.alike == 3000
    assert keeper.failed == 0


def test_the_least_valuable_of_the_fullest_group_goes_first(tmp_path):
    keeper = open_keeper(tmp_path / "e", max_frames=4)
    for index, (kind, value) in enumerate(
        [("flicker", 0.1), ("unsure", 0.5), ("unsure", 0.3), ("unsure", 0.9), ("outlier", 0.2)]
    ):
        keeper.offer(seen(image=noise(index), index=index), (reason(kind, value),))
    assert values(tmp_path / "e") == [0.1, 0.2, 0.5, 0.9]


def test_one_scene_is_kept_once_and_its_best_frame(tmp_path):
    keeper = open_keeper(tmp_path / "e")
    scene = noise(1)
    for index, value in enumerate([0.4, 0.8, 0.6] + [0.5] * 50):
        trembling = cv2.add(scene, (index % 3, index % 3, index % 3, 0))
        keeper.offer(seen(image=trembling, index=index), (reason(value=value),))
    assert values(tmp_path / "e") == [0.8]
    assert files_in(tmp_path / "e")[0].startswith("clip_00000001_")
    assert keeper.alike == 51


def test_one_scene_with_another_reason_class_or_place_is_another_frame(tmp_path):
    keeper = open_keeper(tmp_path / "e")
    left, right = (0.0, 0.0, 16.0, 16.0), (40.0, 20.0, 60.0, 44.0)
    reasons = [
        reason("flicker", label="red", box=left),
        reason("flicker", label="red", box=right),
        reason("flicker", label="blue", box=left),
        reason("unsure", label="red", box=left),
        reason("unsure"),
        reason("flicker", label="red", box=(1.0, 1.0, 17.0, 17.0)),
    ]
    for index, one in enumerate(reasons):
        keeper.offer(seen(image=noise(1), index=index), (one,))
    assert len(values(tmp_path / "e")) == 5


def test_a_restart_goes_on_with_what_is_there(tmp_path):
    first = open_keeper(tmp_path / "e", max_frames=3)
    for index in range(3):
        first.offer(seen(image=noise(index), index=index), (reason(value=0.5 + index / 10),))
    first.folder.close()
    second = open_keeper(tmp_path / "e", max_frames=3)
    assert sorted(one.value for one in second.folder.kept.values()) == [0.5, 0.6, 0.7]
    assert second.folder.size_bytes == first.folder.size_bytes
    second.offer(seen(image=noise(2), index=9), (reason(value=0.65),))  # like one that is worth more
    second.offer(seen(image=noise(7), index=7), (reason(value=0.55),))
    assert values(tmp_path / "e") == [0.55, 0.6, 0.7]


def test_a_smaller_bound_at_a_restart_holds_at_once(tmp_path):
    first = open_keeper(tmp_path / "e")
    for index in range(6):
        first.offer(seen(image=noise(index), index=index), (reason(value=index / 10),))
    first.folder.close()
    open_keeper(tmp_path / "e", max_frames=2)
    assert values(tmp_path / "e") == [0.4, 0.5]


def test_frames_of_another_model_go_first(tmp_path):
    old = open_keeper(tmp_path / "e", max_frames=3, bundle=bundle_of(sha256="b" * 64))
    for index in range(3):
        old.offer(seen(image=noise(index), index=index), (reason(value=0.9),))
    old.folder.close()
    new = open_keeper(tmp_path / "e", max_frames=3, bundle=bundle_of())
    for index in range(3, 6):
        new.offer(seen(image=noise(index), index=index), (reason(value=0.2),))
    assert values(tmp_path / "e") == [0.2, 0.2, 0.2]


def test_nothing_is_stored_below_the_room_that_stays_free_and_the_log_says_so_once(tmp_path, caplog):
    room = [10_000_000]
    keeper = open_keeper(tmp_path / "e", min_free_bytes=5_000_000, free_bytes=lambda _: room[0])
    keeper.offer(seen(image=noise(0), index=0), (reason(),))
    room[0] = 5_000_100
    with caplog.at_level(logging.WARNING):
        for index in range(1, 20):
            keeper.offer(seen(image=noise(index), index=index), (reason(),))
    assert len(values(tmp_path / "e")) == 1
    assert keeper.failed == 19
    [message] = caplog.messages
    assert "the disk has 5 MB left and 5 MB stay free" in message
    room[0] = 10_000_000
    keeper.offer(seen(image=noise(99), index=99), (reason(),))
    assert len(values(tmp_path / "e")) == 2


def test_a_disk_that_fills_while_a_frame_is_written_leaves_no_part_of_it(tmp_path, monkeypatch):
    keeper = open_keeper(tmp_path / "e")
    keeper.offer(seen(image=noise(0), index=0), (reason(),))
    before = files_in(tmp_path / "e")
    real_fsync = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:  # the picture is there, the record is not
            raise OSError(28, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr(private_file.os, "fsync", full)
    keeper.offer(seen(image=noise(1), index=1), (reason(),))
    assert files_in(tmp_path / "e") == before
    assert keeper.failed == 1
    monkeypatch.undo()
    keeper.offer(seen(image=noise(1), index=1), (reason(),))
    assert len(files_in(tmp_path / "e")) == 4


def test_a_frame_larger_than_the_bound_is_refused_and_the_others_stay(tmp_path):
    keeper = open_keeper(tmp_path / "e", max_bytes=20_000)
    keeper.offer(seen(image=noise(0), index=0), (reason(),))
    keeper.offer(seen(image=noise(1, (800, 800)), index=1), (reason(value=0.9),))
    assert len(values(tmp_path / "e")) == 1
    assert keeper.failed == 1


def test_a_reader_never_sees_half_a_frame(tmp_path, no_fsync):
    keeper = open_keeper(tmp_path / "e", max_frames=5)
    frames, problems, reads, done = tmp_path / "e" / "frames", [], [0], threading.Event()

    def read() -> None:
        while not done.is_set():
            for record in frames.glob("*.json"):
                try:
                    value = json.loads(record.read_text())
                    read_image(frames / value["picture"]["file"])
                    reads[0] += 1
                except FileNotFoundError:
                    continue
                except Exception as error:
                    if record.exists():  # gone by now: the bound took it
                        problems.append(f"{record.name}: {error!r}")

    reader = threading.Thread(target=read)
    reader.start()
    for index in range(1500):
        keeper.offer(seen(image=noise(index), index=index), (reason(value=0.5),))
    done.set()
    reader.join()
    assert problems == []
    assert reads[0] > 0


KILLED = """
import sys
sys.path[:0] = [{edge!r}, {tests!r}]
from pathlib import Path
from edge.evidence_frames import noise, open_keeper, reason, seen
keeper = open_keeper(Path(sys.argv[1]), max_frames=3)
index = int(sys.argv[2])
while True:
    index += 1
    keeper.offer(seen(image=noise(index), index=index), (reason(value=0.5),))
    if keeper.stored == 4:
        print("begun", flush=True)
"""


def test_killed_at_any_moment_it_leaves_whole_frames_and_the_next_run_clears_the_rest(tmp_path):
    script = KILLED.format(edge=str(ROOT / "deploy" / "edge"), tests=str(ROOT / "tests"))
    for attempt in range(4):
        command = [sys.executable, "-c", script, str(tmp_path / "e"), str(10_000 * attempt)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"begun\n"
            time.sleep(0.0137 * attempt)
            process.send_signal(signal.SIGKILL)
        for record in (tmp_path / "e" / "frames").glob("*.json"):
            read_image(record.parent / json.loads(record.read_text())["picture"]["file"])
    keeper = open_keeper(tmp_path / "e", max_frames=3)
    names = files_in(tmp_path / "e")
    assert len(keeper.folder.kept) in (2, 3)  # room is made before the next frame is written
    assert names == sorted(f"{name}{suffix}" for name in keeper.folder.kept for suffix in (".jpg", ".json"))


def test_files_of_others_stay(tmp_path):
    (tmp_path / "e" / "frames").mkdir(parents=True)
    for name in ("notes.txt", "labels.json", "mine.jpg", "other.part"):
        (tmp_path / "e" / "frames" / name).write_text("mine")
    keeper = open_keeper(tmp_path / "e", max_frames=1)
    for index in range(3):
        keeper.offer(seen(image=noise(index), index=index), (reason(),))
    assert {"notes.txt", "labels.json", "mine.jpg", "other.part"} < set(files_in(tmp_path / "e"))


def test_a_damaged_record_is_named_and_removed(tmp_path, caplog):
    first = open_keeper(tmp_path / "e")
    first.offer(seen(image=noise(0)), (reason(),))
    first.folder.close()
    [record] = (tmp_path / "e" / "frames").glob("*.json")
    record.write_text('{"schema_version": 1')
    open_keeper(tmp_path / "e")
    assert files_in(tmp_path / "e") == []
    assert "damaged, removed" in caplog.text


def test_only_the_owner_may_read_also_where_the_folder_was_open_before(tmp_path):
    (tmp_path / "e").mkdir(mode=0o755)
    (tmp_path / "e").chmod(0o755)
    keeper = open_keeper(tmp_path / "e")
    keeper.offer(seen(), (reason(),))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "e").rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "e").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "e" / "frames").stat().st_mode) == 0o700


def test_two_runs_cannot_share_a_folder(tmp_path):
    first = open_keeper(tmp_path / "e")
    with pytest.raises(UsageError, match="another run keeps its evidence there") as caught:
        open_keeper(tmp_path / "e")
    assert caught.value.exit_code == 2
    first.folder.close()
    open_keeper(tmp_path / "e")


def test_a_place_that_is_no_folder_is_refused_with_code_10(tmp_path):
    (tmp_path / "e").write_text("a file")
    with pytest.raises(StorageError, match="cannot be created for its owner alone") as caught:
        open_keeper(tmp_path / "e")
    assert caught.value.exit_code == 10


def test_a_record_says_why_what_which_model_when_and_where(tmp_path):
    keeper = open_keeper(tmp_path / "e")
    frame = seen(image=noise(0), index=17, time_s=1.7, unix_time_s=1795442701.25, source="rtsp://cam:***@10.0.0.7/main")
    keeper.offer(frame, (reason("flicker", 0.8, label="red", box=(1.0, 2.0, 3.0, 4.0)), reason("unsure", 0.2)))
    [path] = (tmp_path / "e" / "frames").glob("*.json")
    record = json.loads(path.read_text())
    assert path.stem.startswith("20261123T140501Z_00000017_")
    assert [one["kind"] for one in record["reasons"]] == ["flicker", "unsure"]
    assert record["reasons"][0]["box_xyxy"] == [1, 2, 3, 4]
    assert record["model"] == {
        "name": "tiny-detector",
        "version": 1,
        "manifest_sha256": SHA256,
        "task": "detection",
        "labels": ["red", "blue"],
    }
    assert record["picture"] == {"file": f"{path.stem}.jpg", "kind": "original"}
    assert (record["frame"], record["time_s"], record["unix_time_s"]) == (17, 1.7, 1795442701.25)
    assert (record["source"], record["width"], record["height"]) == ("rtsp://cam:***@10.0.0.7/main", 64, 48)
    assert record["detections"] == []


def test_the_name_of_a_frame_stays_inside_the_folder():
    from cvforge_edge.evidence.record import FRAME_NAME, frame_name

    for source in ("../../etc/passwd", "/a/b.c/ü ö.mp4", "..", "x" * 300 + ".avi"):
        name = frame_name(seen(source=source, index=123456789012).frame)
        assert FRAME_NAME.fullmatch(name), name
    assert frame_name(seen(source="a/clip.mp4").frame) != frame_name(seen(source="b/clip.mp4").frame)
    assert folder_module.FRAME_NAME is FRAME_NAME
