"""What is offered to Prometheus is what its own parser reads, and probes hear the truth."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cvforge_edge.events import Event
from cvforge_edge.latency import LatencyRecorder
from cvforge_edge.status import CameraStatus, Gauge, RunStatus
from cvforge_edge.web.event_log import EventLog
from cvforge_edge.web.health import problem
from cvforge_edge.web.history import History, sample_of
from cvforge_edge.web.metrics import WebCounts, metrics_text
from cvforge_edge.web.status_document import status_document
from edge.web_client import healthy_board, wait_until

NOW_S = 1000.0
NASTY = 'rtsp://u:***@h/"a"\\b\nc'


def camera(name: str = "door", **changes) -> CameraStatus:
    live = CameraStatus(name, "live", 120, 7, 2, 14.5, 41.0, NOW_S - 60, NOW_S - 0.1, NOW_S - 0.2)
    return replace(live, **changes)


def status(*cameras: CameraStatus, **changes) -> RunStatus:
    recorder = LatencyRecorder()
    for milliseconds in range(1, 101):
        recorder.add("predict", milliseconds / 1000)
    running = RunStatus(
        "running", "cells", 3, "litert, m.tflite", 1.7e9, NOW_S - 60, NOW_S - 0.3, cameras, recorder.percentiles(), 96.5
    )
    return replace(running, **changes)


def families(of: RunStatus, events=None) -> dict:
    text = metrics_text(of, now_s=NOW_S, now_unix_s=1.7e9 + 60, events=events or {}, web=WebCounts(3, 5, 77, 1))
    parsed = list(text_string_to_metric_families(text))
    names = [family.name for family in parsed]
    assert len(names) == len(set(names))
    return {family.name: family for family in parsed}


def samples(family) -> dict:
    return {(s.name, *sorted(s.labels.items())): s.value for s in family.samples}


def test_prometheus_reads_every_figure():
    events = {("door", "gate", "line_crossed"): 4, (NASTY, "zone", "zone_entered"): 1}
    read = families(status(camera(), camera(NASTY, state="lost", captured_s=None, hanging=3)), events)
    door, other = (("camera", "0"), ("name", "door")), (("camera", "1"), ("name", NASTY))
    assert read["cvforge_frames"].type == "counter"
    assert samples(read["cvforge_frames"]) == {
        ("cvforge_frames_total", *door): 120,
        ("cvforge_frames_total", *other): 120,
    }
    assert samples(read["cvforge_frames_dropped"])[("cvforge_frames_dropped_total", *door)] == 7
    assert samples(read["cvforge_reconnects"])[("cvforge_reconnects_total", *door)] == 2
    hangs = samples(read["cvforge_camera_hangs"])
    assert list(hangs.values()) == [0, 3]
    assert hangs[("cvforge_camera_hangs_total", *other)] == 3
    assert samples(read["cvforge_frames_per_second"])[("cvforge_frames_per_second", *door)] == 14.5
    ages = samples(read["cvforge_picture_age_seconds"])
    assert ages == {("cvforge_picture_age_seconds", *door): pytest.approx(0.2)}
    states = {s.labels["state"]: s.value for s in read["cvforge_camera_state"].samples if s.labels["camera"] == "1"}
    assert states == {"connecting": 0, "live": 0, "stalled": 0, "lost": 1, "closed": 0}
    assert samples(read["cvforge_events"]) == {
        ("cvforge_events_total", ("kind", "line_crossed"), ("rule", "gate"), ("source", "door")): 4,
        ("cvforge_events_total", ("kind", "zone_entered"), ("rule", "zone"), ("source", NASTY)): 1,
    }
    single = {name: family.samples[0].value for name, family in read.items() if len(family.samples) == 1}
    assert single["process_resident_memory_bytes"] == 96.5e6
    assert single["process_start_time_seconds"] == 1.7e9
    assert single["cvforge_status_age_seconds"] == pytest.approx(0.3)
    assert (single["cvforge_healthy"], single["cvforge_web_streams"], single["cvforge_web_connections"]) == (1, 3, 5)
    assert (single["cvforge_web_pictures"], single["cvforge_web_refused"]) == (77, 1)
    info = read["cvforge_info"].samples[0].labels
    assert (info["model"], info["model_version"], info["backend"]) == ("cells", "3", "litert, m.tflite")


def test_numbers_of_sinks_stand_together_by_name():
    gauges = [
        Gauge("cvforge_messages_sent_total", "Sent.", 7, (("output", output),), counts=True) if name == "sent"
        else Gauge("cvforge_drift_level", "Level.", 2.0, (("source", output), ("quantity", NASTY)))
        for output in ("mqtt://a/x", "https://b") for name in ("sent", "drift")
    ]  # fmt: skip
    read = families(status(camera(), gauges=tuple(gauges)))
    assert (read["cvforge_messages_sent"].type, read["cvforge_drift_level"].type) == ("counter", "gauge")
    assert samples(read["cvforge_messages_sent"]) == {
        ("cvforge_messages_sent_total", ("output", "mqtt://a/x")): 7,
        ("cvforge_messages_sent_total", ("output", "https://b")): 7,
    }
    document = status_document(
        status(gauges=tuple(gauges)), now_s=NOW_S, now_unix_s=1.7e9 + 60, newest_event=0, streams=0
    )
    assert document["gauges"][1] == {
        "name": "cvforge_drift_level",
        "text": "Level.",
        "value": 2.0,
        "labels": {"source": "mqtt://a/x", "quantity": NASTY},
    }
    assert {s.labels["quantity"] for s in read["cvforge_drift_level"].samples} == {NASTY}


def test_stages_are_a_summary_in_seconds():
    summary = families(status(camera()))["cvforge_stage_duration_seconds"]
    assert summary.type == "summary"
    stage = ("stage", "predict")
    assert samples(summary) == {
        ("cvforge_stage_duration_seconds", ("quantile", "0.5"), stage): pytest.approx(0.050),
        ("cvforge_stage_duration_seconds", ("quantile", "0.95"), stage): pytest.approx(0.095),
        ("cvforge_stage_duration_seconds", ("quantile", "0.99"), stage): pytest.approx(0.099),
        ("cvforge_stage_duration_seconds_sum", stage): pytest.approx(5.05),
        ("cvforge_stage_duration_seconds_count", stage): 100,
    }


@pytest.mark.parametrize(("now_unix_s", "start"), [(1.7e9 + 60.4, 1.7e9), (1.8e9 + 60.4, 1.8e9), (86460.0, 86400)])
def test_the_start_is_told_by_the_clock_as_it_goes_now(now_unix_s, start):
    run = status(camera(), started_unix_s=1.7e9, started_s=NOW_S - 60)
    assert run.start_unix_s(now_s=NOW_S, now_unix_s=now_unix_s) == start
    assert RunStatus().start_unix_s(now_s=NOW_S, now_unix_s=now_unix_s) == 0


def test_a_run_that_has_not_begun_is_read_too():
    read = families(RunStatus())
    assert read["cvforge_healthy"].samples[0].value == 0
    assert not any(name.startswith(("cvforge_frames", "process", "cvforge_stage")) for name in read)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (status(camera()), None),
        (status(camera(), camera(state="lost")), None),
        (status(camera(state="connecting", state_since_s=NOW_S - 9, result_s=None)), None),
        (status(camera(state="connecting", state_since_s=NOW_S - 11)), r"no camera is live \(connecting\)"),
        (status(camera(), camera(state="connecting", state_since_s=NOW_S - 11)), None),
        (status(), None),
        (status(camera(result_s=None, waiting_since_s=NOW_S - 9)), None),
        (status(camera(result_s=NOW_S - 49)), None),  # --max-fps 0.02: no frame waits
        (RunStatus(), "not begun"),
        (status(camera(), phase="ended"), "has ended"),
        (status(camera(), written_s=NOW_S - 11), "stuck: no sign of life for 11 s"),
        (status(camera(state="lost"), camera(state="stalled")), r"no camera is live \(lost, stalled\)"),
        (status(camera(), camera(waiting_since_s=NOW_S - 11)), "although frames come: camera 1"),
        (status(camera(result_s=None, waiting_since_s=NOW_S - 11)), "although frames come: camera 0"),
        (status(camera(result_s=NOW_S - 100, waiting_since_s=NOW_S - 1)), None),  # just back
    ],
)
def test_a_probe_hears_what_is_wrong(of, words):
    found = problem(of, now_s=NOW_S)
    if words is None:
        assert found is None
    else:
        assert re.search(words, found)
    assert families(of)["cvforge_healthy"].samples[0].value == int(found is None)


def test_the_status_of_the_page_has_durations_and_no_clock():
    document = status_document(
        status(camera(), camera("b", state="connecting", age_ms=None, result_s=None, captured_s=None)),
        now_s=NOW_S,
        now_unix_s=1.7e9 + 60,
        newest_event=4,
        streams=1,
    )
    assert document["cameras"][0] == {
        "camera": 0,
        "name": "door",
        "state": "live",
        "state_for_s": 60.0,
        "frames": 120,
        "dropped": 7,
        "reconnects": 2,
        "hanging": 0,
        "fps": 14.5,
        "age_ms": 41.0,
        "result_ago_s": 0.1,
        "captured_ago_s": 0.2,
    }
    assert (document["cameras"][1]["captured_ago_s"], document["newest_event"]) == (None, 4)
    assert document["latency_ms"]["predict"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "count": 100}
    assert document["gauges"] == []
    assert (document["problem"], document["running_s"], document["written_ago_s"]) == (None, 60.0, 0.3)


def event(number: int, rule: str = "gate") -> Event:
    return Event(rule, "line_crossed", "door", number, 0.5, 1.7e9, "car", number, 1.0)


def test_events_are_numbered_kept_for_a_while_and_counted_for_ever():
    log = EventLog()
    assert log.since(0) == {"newest": 0, "events": []}
    log.add([event(1), event(2)])
    log.add([])
    assert [e["number"] for e in log.since(0)["events"]] == [1, 2]
    assert log.since(1)["events"][0] == {"number": 2, **event(2).to_value()}
    assert log.since(2) == {"newest": 2, "events": []}
    log.add([event(number) for number in range(1000)])
    answer = log.since(0)
    assert (answer["newest"], len(answer["events"]), answer["events"][-1]["number"]) == (1002, 200, 1002)
    assert log.counts() == {("door", "gate", "line_crossed"): 1002}


def test_a_flood_of_rules_does_not_grow_the_metrics_without_end():
    log = EventLog()
    log.add([event(number, rule=f"rule {number}") for number in range(2000)])
    counts = log.counts()
    assert len(counts) == 501
    assert counts["other", "other", "other"] == 1500
    assert sum(counts.values()) == 2000


def test_history_has_figures_only_where_somebody_wrote_them():
    assert sample_of(status(camera(), camera("b", fps=0.0)), 7, now_s=NOW_S) == (7, [14.5, 0.0], None, None)
    recorder = LatencyRecorder()
    recorder.add("age", 0.0404)
    seen = status(camera(), latency=recorder.percentiles())
    assert sample_of(seen, 8, now_s=NOW_S) == (8, [14.5], 40.4, 40.4)
    assert sample_of(replace(seen, written_s=NOW_S - 4), 9, now_s=NOW_S) == (9, None, None, None)
    assert sample_of(status(camera(fps=0.0), latency=recorder.percentiles()), 1, now_s=NOW_S) == (1, [0.0], None, None)


def test_history_is_asked_for_what_is_new(monkeypatch):
    import cvforge_edge.web.history as history_module

    monkeypatch.setattr(history_module, "SAMPLE_EVERY_S", 0.005)
    history = History(healthy_board("a"))
    wait_until(lambda: history.since(0)["newest"] >= 5)
    history.close()
    answer = history.since(0)
    assert [sample[0] for sample in answer["samples"]] == list(range(1, answer["newest"] + 1))
    assert [sample[0] for sample in history.since(answer["newest"] - 2)["samples"]] == [
        answer["newest"] - 1,
        answer["newest"],
    ]
    assert history.since(10**9)["samples"] == answer["samples"]  # asked by a page of a longer run before this one
