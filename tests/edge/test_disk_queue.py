"""The queue on disk: order, limits, restarts, kill -9, torn and damaged records, a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cvforge_edge.errors import StorageError, UsageError
from cvforge_edge.sinks.disk_queue import DiskQueue
from cvforge_edge.sinks.queue_segment import HEADER, SUFFIX

CHILD = Path(__file__).with_name("queue_child.py")
LIMIT_BYTES = 1_000_000


def opened(folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> DiskQueue:
    return DiskQueue(folder, limit_bytes=limit_bytes)


def read_all(queue: DiskQueue) -> list[bytes]:
    bodies = []
    while (record := queue.read()) is not None:
        bodies.append(record.body)
    return bodies


def numbers(bodies: list[bytes]) -> list[int]:
    return [int(body.split()[0]) for body in bodies]


def put(queue: DiskQueue, count: int, *, start: int = 0, size: int = 500) -> None:
    for index in range(start, start + count):
        queue.append(b"%d " % index + b"x" * size)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def test_records_come_out_in_the_order_in_which_they_went_in(tmp_path):
    with opened(tmp_path) as queue:
        assert queue.read() is None
        queue.append(b"a")
        queue.append(b"")
        assert [queue.read().body, queue.read().body, queue.read()] == [b"a", b"", None]
        queue.append(b"c")
        assert queue.read().body == b"c"
        assert queue.waiting == 3


def test_after_rewind_what_was_not_acknowledged_is_read_again(tmp_path):
    with opened(tmp_path) as queue:
        put(queue, 5)
        records = [queue.read() for _ in range(5)]
        queue.acknowledge(records[1].number)  # not the first: it stays until the first is acknowledged, too
        queue.rewind()
        assert numbers(read_all(queue)) == [0, 1, 2, 3, 4]
        queue.rewind()
        records = [queue.read() for _ in range(5)]
        for index in (1, 0):
            queue.acknowledge(records[index].number)
        queue.rewind()
        assert numbers(read_all(queue)) == [2, 3, 4]
        assert queue.waiting == 3


def test_what_waits_is_there_after_a_restart_and_what_was_acknowledged_is_not(tmp_path):
    with opened(tmp_path) as queue:
        put(queue, 3)
        queue.acknowledge(queue.read().number)
    with opened(tmp_path) as queue:
        assert queue.waiting == 2
        put(queue, 1, start=3)
        assert numbers(read_all(queue)) == [1, 2, 3]


def test_acknowledged_messages_leave_the_disk(tmp_path):
    with opened(tmp_path) as queue:
        for index in range(4000):  # 2 MB through a queue of 1 MB
            put(queue, 1, start=index)
            record = queue.read()
            assert int(record.body.split()[0]) == index
            queue.acknowledge(record.number)
        assert sum(path.stat().st_size for path in files(tmp_path)) < 100_000
        assert (queue.waiting, queue.dropped) == (0, 0)
    assert files(tmp_path) == []


def test_a_large_file_without_waiting_records_is_emptied(tmp_path):
    with opened(tmp_path, limit_bytes=64_000_000) as queue:
        for index in range(1200):
            put(queue, 1, start=index)
            queue.acknowledge(queue.read().number)
        assert [path.stat().st_size < 300_000 for path in files(tmp_path)] == [True]
        put(queue, 2, start=1200)
        assert numbers(read_all(queue)) == [1200, 1201]
    with opened(tmp_path) as queue:
        assert numbers(read_all(queue)) == [1200, 1201]


def test_above_the_limit_the_oldest_are_dropped_and_counted(tmp_path, caplog):
    with opened(tmp_path) as queue:
        put(queue, 4000)
        found = numbers(read_all(queue))
        assert found == list(range(4000 - len(found), 4000))
        assert queue.dropped == 4000 - len(found)
        assert queue.waiting == len(found)
        size = sum(path.stat().st_size for path in files(tmp_path))
        assert LIMIT_BYTES * 14 / 16 < size <= LIMIT_BYTES
    assert caplog.text.count("the oldest unsent messages are dropped") == 1


def test_a_record_that_is_dropped_while_it_is_on_its_way_may_still_be_acknowledged(tmp_path):
    with opened(tmp_path) as queue:
        put(queue, 10)
        sent = [queue.read() for _ in range(10)]
        put(queue, 4000, start=10)
        for record in sent:
            queue.acknowledge(record.number)
        found = numbers(read_all(queue))
        assert found == list(range(4010 - len(found), 4010))
        assert queue.waiting == len(found)
        assert queue.dropped == 4010 - len(found)


def test_a_record_larger_than_a_quarter_of_the_limit_is_refused_and_counted(tmp_path):
    with opened(tmp_path) as queue:
        queue.append(b"x" * (LIMIT_BYTES // 4 + 1))
        put(queue, 1)
        assert (queue.dropped, numbers(read_all(queue))) == (1, [0])


def test_a_torn_last_record_is_skipped_and_the_queue_goes_on(tmp_path):
    with opened(tmp_path) as queue:
        put(queue, 3)
    (path,) = files(tmp_path)
    for cut in (1, 400, 500 + HEADER.size, 501 + HEADER.size):
        data = path.read_bytes()
        path.write_bytes(data[:-cut])
        with opened(tmp_path) as queue:
            assert queue.waiting == 2
            put(queue, 1, start=3)
            assert numbers(read_all(queue)) == [0, 1, 3]
            for number in [record for record in files(tmp_path) if record != path]:
                number.unlink()
        path.write_bytes(data)


@pytest.mark.parametrize("place", [0, 4, 12, 16, HEADER.size, HEADER.size + 300])
def test_one_damaged_byte_costs_one_record(tmp_path, place):
    with opened(tmp_path) as queue:
        put(queue, 5)
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[2 * (HEADER.size + 502) + place] ^= 0x40
    path.write_bytes(data)
    with opened(tmp_path) as queue:
        assert numbers(read_all(queue)) == [0, 1, 3, 4]
        assert queue.waiting == 4


def test_zeros_at_the_end_of_a_file_as_after_a_power_cut_are_no_record(tmp_path):
    with opened(tmp_path) as queue:
        put(queue, 2)
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(4096))
    with opened(tmp_path) as queue:
        assert numbers(read_all(queue)) == [0, 1]


@pytest.mark.parametrize("note", [b"", b"garbage", b"\xff" * 12])
def test_a_damaged_note_of_what_was_acknowledged_makes_duplicates_and_loses_nothing(tmp_path, note):
    with opened(tmp_path) as queue:
        put(queue, 3)
        queue.acknowledge(queue.read().number)
    (tmp_path / "acknowledged").write_bytes(note)
    with opened(tmp_path) as queue:
        put(queue, 1, start=3)
        assert numbers(read_all(queue)) == [0, 1, 2, 3]


def test_a_lost_file_does_not_hide_new_records_behind_the_note(tmp_path):
    with opened(tmp_path) as queue:
        put(queue, 3)
        for _ in range(2):
            queue.acknowledge(queue.read().number)
    files(tmp_path)[0].unlink()
    with opened(tmp_path) as queue:
        put(queue, 2, start=10)
        assert numbers(read_all(queue)) == [10, 11]


def test_a_second_process_may_not_use_the_same_queue(tmp_path):
    with opened(tmp_path), pytest.raises(UsageError, match="another process") as caught:
        opened(tmp_path)
    assert caught.value.exit_code == 2
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_a_storage_error_with_code_10(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="--queue") as caught:
        opened(tmp_path / "file" / "queue")
    assert caught.value.exit_code == 10


def test_nothing_that_append_took_is_lost_when_the_process_is_killed(tmp_path):
    for kill_after in (1, 57, 300):
        folder = tmp_path / str(kill_after)
        command = [sys.executable, "-I", str(CHILD), str(folder), "0", "1000000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            announced = [int(child.stdout.readline()) for _ in range(kill_after)]
            child.kill()
            announced += [int(line) for line in child.stdout.read().splitlines() if line]
        with opened(folder, limit_bytes=16_000_000) as queue:
            found = numbers(read_all(queue))
        assert found[: len(announced)] == announced
        assert found == list(range(len(found)))
        assert len(found) <= len(announced) + 1  # the one that was being announced


def test_on_a_full_disk_messages_wait_in_memory_in_order_and_the_process_goes_on(tmp_path):
    # Files may have 100,000 bytes here: the 192nd message does not fit, and a new file is tried after five seconds.
    command = [sys.executable, "-I", str(CHILD), str(tmp_path), "100000", "1000"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 0, child.stderr
    last = child.stdout.splitlines()[-1]
    on_disk = 100_000 // (HEADER.size + 504)
    assert last.startswith("in order: True")
    assert child.stderr.count("the disk fails (File too large)") == 1
    with opened(tmp_path) as queue:
        kept = numbers(read_all(queue))
    assert kept == list(range(len(kept)))
    assert on_disk - 5 < len(kept) < on_disk + 10
    assert last == f"in order: True, in memory: {1000 - len(kept)}, dropped: {1000 - len(kept)}"


def test_the_disk_is_used_again_once_it_has_room(tmp_path, monkeypatch):
    from cvforge_edge.sinks.queue_segment import Segment

    real_append, full = Segment.append, [True]

    def append(self, number, body):
        if self.on_disk and full[0]:
            raise OSError(28, "No space left on device")
        real_append(self, number, body)

    monkeypatch.setattr(Segment, "append", append)
    monkeypatch.setattr("cvforge_edge.sinks.disk_queue.RETRY_DISK_S", 0.0)
    with opened(tmp_path) as queue:
        put(queue, 3)
        assert queue.only_in_memory == 3
        full[0] = False
        put(queue, 2, start=3)
        assert queue.only_in_memory == 3
        assert numbers(read_all(queue)) == [0, 1, 2, 3, 4]
    assert queue.dropped == 3
    with opened(tmp_path) as queue:
        assert numbers(read_all(queue)) == [3, 4]


def test_memory_is_bounded_while_the_disk_is_full(tmp_path, monkeypatch):
    from cvforge_edge.sinks import disk_queue
    from cvforge_edge.sinks.queue_segment import Segment

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as queue:
        put(queue, 5)
        monkeypatch.setattr(Segment, "create", refuse)
        queue._segments[-1].append = refuse
        put(queue, 12_000, start=5)
        found = numbers(read_all(queue))
        assert found[:5] == [0, 1, 2, 3, 4]  # on the disk before it was full
        assert found[5:] == list(range(12_005 - len(found[5:]), 12_005))
        assert disk_queue.MEMORY_BYTES * 0.8 < len(found[5:]) * 526 <= disk_queue.MEMORY_BYTES
        assert queue.dropped == 12_005 - len(found)


def test_what_waits_is_brought_to_the_disk_within_seconds_and_what_was_acknowledged_is_not(tmp_path, monkeypatch):
    import os
    import threading

    synced = threading.Event()
    monkeypatch.setattr("cvforge_edge.sinks.disk_queue.SYNC_AFTER_S", 0.05)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: synced.set())
    with opened(tmp_path) as queue:
        queue.append(b"delivered at once")
        queue.acknowledge(queue.read().number)
        assert not synced.wait(0.3)
        queue.append(b"waits")
        assert synced.wait(5)
