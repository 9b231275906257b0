"""A camera gives its newest frame, comes back after a loss, and harms nobody when its driver hangs."""

from __future__ import annotations

import logging
import threading

import pytest

from cvforge_edge.errors import SourceError
from cvforge_edge.inbox import Inbox
from cvforge_edge.sources import capture_thread
from cvforge_edge.sources.cadence import Cadence
from cvforge_edge.sources.limits import LiveLimits
from cvforge_edge.sources.live import MOST_HANGING_THREADS, LiveSource
from edge.scripted_capture import REFUSED, WAIT_S, ScriptedCapture, opener, wait_until

QUICK = LiveLimits(first_pause_s=0.01, longest_pause_s=0.02)


@pytest.fixture
def open_live():
    """Opens a source around scripted captures, waits for its first attempt, and lets every capture go at the end."""
    opened = []

    def open_with(captures, **options) -> LiveSource:
        source = LiveSource("camera", opener(captures), **options)
        opened.append((source, captures))
        return source

    yield open_with
    for source, captures in opened:
        source.stop()
        for capture in captures:
            if isinstance(capture, ScriptedCapture):
                capture.let(1000)
        source.close(within_s=WAIT_S)


def test_newest_frame_wins_and_the_others_are_counted(open_live):
    capture = ScriptedCapture([10, 20, 30, 40])
    source = open_live([capture])
    source.wait_until_connected()
    assert (source.fps, source.state) == (25.0, "connecting")
    capture.let(3)
    wait_until(lambda: source.dropped == 2, "two frames replaced")
    frame = source.read(timeout_s=WAIT_S)
    assert (frame.image_bgr[0, 0, 0], frame.index) == (30, 2)
    assert source.read(timeout_s=0.0) is None
    capture.let(1)
    assert source.read(timeout_s=WAIT_S).index == 3
    assert (source.dropped, source.state) == (2, "live")


def test_lost_camera_is_connected_again_with_no_made_up_or_repeated_frame(open_live):
    first, second = ScriptedCapture([10]), ScriptedCapture([20])
    source = open_live([first, REFUSED, REFUSED, second], limits=QUICK)
    first.let(1)
    assert source.read(timeout_s=WAIT_S).image_bgr[0, 0, 0] == 10
    first.let(1)
    wait_until(lambda: source.state == "lost", "loss noticed")
    assert source.read(timeout_s=0.0) is None
    assert not source.ended
    second.let(1)
    frame = source.read(timeout_s=WAIT_S)
    assert (frame.image_bgr[0, 0, 0], frame.index, source.state, source.reconnects) == (20, 1, "live", 1)
    assert first.released


def test_camera_that_connects_and_gives_nothing_is_not_tried_without_pause_or_end(open_live):
    empty = [ScriptedCapture([]) for _ in range(3)]
    for capture in empty:
        capture.let(1)
    source = open_live(empty, limits=LiveLimits(first_pause_s=0.01, connect_for_s=0.0))
    with pytest.raises(SourceError, match="camera: connected, but no picture came"):
        source.read(timeout_s=WAIT_S)
    assert source.ended
    assert [capture.released for capture in empty] == [True, False, False]


def test_camera_that_stays_away_ends_with_an_error_that_says_why(open_live):
    first = ScriptedCapture([10])
    source = open_live([first], limits=LiveLimits(first_pause_s=0.001, reconnect_for_s=0.01))
    first.let(2)
    assert source.read(timeout_s=WAIT_S) is not None
    with pytest.raises(SourceError, match=r"not back within 0.01 s.*The last attempt: camera: no connection") as caught:
        source.read(timeout_s=WAIT_S)
    assert (caught.value.exit_code, source.state, source.ended) == (8, "closed", True)


def test_silent_camera_is_called_stalled_until_it_speaks_again(open_live, caplog):
    capture = ScriptedCapture([10, 20])
    source = open_live([capture], limits=LiveLimits(stall_after_s=0.02))
    capture.let(1)
    assert source.read(timeout_s=WAIT_S) is not None
    wait_until(lambda: source.read(timeout_s=0.01) is None and source.state == "stalled", "stall noticed")
    assert "stalled" in caplog.text
    capture.let(1)
    assert source.read(timeout_s=WAIT_S) is not None
    assert (source.state, source.reconnects) == ("live", 0)


def test_first_connection_that_fails_is_an_error(open_live):
    source = open_live([REFUSED])
    with pytest.raises(SourceError, match="no connection"):
        source.wait_until_connected()
    assert source.state == "closed"


def test_first_connection_is_tried_for_as_long_as_asked(open_live, caplog):
    capture = ScriptedCapture([10])
    limits = LiveLimits(first_pause_s=0.001, longest_pause_s=0.002, connect_for_s=WAIT_S)
    with caplog.at_level(logging.INFO):
        source = open_live([REFUSED] * 5 + [capture], limits=limits)
        source.wait_until_connected()
        assert source.state == "connecting"
        capture.let(1)
        assert source.read(timeout_s=WAIT_S).index == 0
    assert (source.state, source.reconnects) == ("live", 0)
    assert caplog.text.count("no connection") == 1


def test_driver_that_hangs_is_left_behind_and_its_late_frame_is_not_believed(open_live, monkeypatch):
    monkeypatch.setattr(capture_thread, "GRACE_S", 0.0)
    stuck, second = ScriptedCapture([10, 11]), ScriptedCapture([20])
    source = open_live([stuck, second], limits=LiveLimits(0.02, 0.2, first_pause_s=0.01, longest_pause_s=0.02))
    stuck.let(1)
    assert source.read(timeout_s=WAIT_S).image_bgr[0, 0, 0] == 10
    wait_until(lambda: source.read(timeout_s=0.01) is None and source.hanging == 1, "hang noticed")
    assert not stuck.released
    second.let(1)
    frame = source.read(timeout_s=WAIT_S)
    assert (frame.image_bgr[0, 0, 0], source.state, source.reconnects) == (20, "live", 1)
    stuck.let(1)
    wait_until(lambda: stuck.released, "the late thread releases its camera")
    assert source.read(timeout_s=0.05) is None


def test_attempts_stop_while_too_many_threads_hang_and_the_time_limit_still_holds(open_live, monkeypatch):
    monkeypatch.setattr(capture_thread, "GRACE_S", 0.0)
    first, stuck = ScriptedCapture([10]), [ScriptedCapture([]) for _ in range(9)]
    limits = LiveLimits(0.01, 0.03, reconnect_for_s=1.0, first_pause_s=0.01, longest_pause_s=0.01)
    source = open_live([first, *stuck], limits=limits)
    first.let(1)
    assert source.read(timeout_s=WAIT_S) is not None

    def gave_up() -> bool:
        try:
            source.read(timeout_s=0.005)
        except SourceError as error:
            assert f"{MOST_HANGING_THREADS} threads wait for it" in str(error)
            return True
        return False

    wait_until(gave_up, "gave up")
    assert source.hanging == MOST_HANGING_THREADS


def test_opening_that_hangs_does_not_hang_the_program(open_live, monkeypatch):
    monkeypatch.setattr(capture_thread, "OPEN_WITHIN_S", 0.02)
    monkeypatch.setattr(capture_thread, "GRACE_S", 0.0)
    go_on = threading.Event()

    def hang():
        go_on.wait(WAIT_S)
        raise REFUSED

    source = LiveSource("camera", hang)
    with pytest.raises(SourceError, match="hangs"):
        source.wait_until_connected()
    go_on.set()
    source.close(within_s=WAIT_S)


def test_mistake_in_a_driver_reaches_whoever_reads(open_live):
    source = open_live([ZeroDivisionError("wrong")])
    with pytest.raises(ZeroDivisionError, match="wrong"):
        source.read(timeout_s=WAIT_S)
    assert source.ended


def test_one_thread_for_each_camera_also_in_a_run(open_live):
    captures = [ScriptedCapture([10, 20, 30]) for _ in range(2)]
    before = set(threading.enumerate())  # threads of earlier tests may end meanwhile
    sources = [open_live([capture]) for capture in captures]
    with Inbox(sources, in_work=2) as inbox:
        assert len(set(threading.enumerate()) - before) == 2
        captures[0].let(1)
        ticket = inbox.take()
        assert (ticket.source, ticket.frame.image_bgr[0, 0, 0]) == (0, 10)
        captures[1].let(3)
        wait_until(lambda: inbox.dropped == (0, 2), "newest frame wins")
        ticket = inbox.take()
        assert (ticket.source, ticket.frame.image_bgr[0, 0, 0], ticket.frame.index) == (1, 30, 2)


def test_camera_that_failed_before_the_run_does_not_end_the_others(open_live, caplog):
    good, bad = ScriptedCapture([10, 20]), open_live([REFUSED])
    with pytest.raises(SourceError):
        bad.wait_until_connected()
    with Inbox([bad, open_live([good])], in_work=2, max_frames=2) as inbox:
        assert "camera: no connection; the other sources go on" in caplog.text
        for grey in (10, 20):
            good.let(1)
            ticket = inbox.take()
            assert ticket.frame.image_bgr[0, 0, 0] == grey
            inbox.finish(ticket)
        assert str(inbox.error) == "camera: no connection"


def test_unwanted_frames_of_a_camera_are_never_converted(open_live):
    capture = ScriptedCapture(list(range(7)))
    retrieved = []
    capture.retrieve = lambda: (retrieved.append(capture.grey), ScriptedCapture.retrieve(capture))[1]
    source = open_live([capture], cadence=Cadence(every=3))
    source.wait_until_connected()
    assert source.fps == pytest.approx(25 / 3)
    capture.let(7)
    wait_until(lambda: len(retrieved) == 3, "three of seven")
    assert retrieved == [0, 3, 6]
    assert source.read(timeout_s=WAIT_S).index == 6


def test_capture_thread_ends_with_the_source(open_live):
    capture = ScriptedCapture([10])
    source = open_live([capture])
    assert "capture camera" in [thread.name for thread in threading.enumerate()]
    source.stop()
    capture.let(1)
    source.close(within_s=WAIT_S)
    assert "capture camera" not in [thread.name for thread in threading.enumerate()]
    assert capture.released
    source.close()


def test_the_frame_that_was_kept_is_delivered_before_any_newer_one(open_live):
    capture, seen, newer = ScriptedCapture([10, 20, 30]), [], threading.Event()
    source = open_live([capture])
    capture.let(1)
    wait_until(lambda: source.state == "live" and source._slot is not None, "a frame is kept")

    def on_frame(frame) -> None:
        if frame.index == 0:
            capture.let(1)
            newer.wait(0.3)  # as long as a slow receiver takes: time enough for a newer one, if it could come
        else:
            newer.set()
        seen.append(frame.index)

    source.deliver(on_frame, lambda error: None)
    capture.let(1)
    wait_until(lambda: len(seen) == 3, "all frames")
    assert seen == [0, 1, 2]
    assert source.read(timeout_s=0.0) is None
