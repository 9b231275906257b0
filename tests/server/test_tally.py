"""Figures are summed up between two tellings, as Prometheus would have summed them up itself."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Histogram

from cvforge_server.reply import Reply
from cvforge_server.tally import BOUNDARIES_S, BUCKET, COUNT, OBJECTS, REPLIES, SUM, Tally

TIMES_MS = (0.4, 1.0, 1.1, 9.99, 10.0, 77.0, 20000.0)


def found(tally: Tally) -> dict[tuple[str, tuple[str, ...]], float]:
    increases = tally.take()
    assert len({(one.name, one.labels) for one in increases}) == len(increases)
    return {(one.name, one.labels): one.by for one in increases}


def test_buckets_are_those_of_a_histogram_of_prometheus():
    tally = Tally(model="m")
    reference = Histogram("s", "seconds", buckets=BOUNDARIES_S, registry=CollectorRegistry())
    for ms in TIMES_MS:
        tally.note(Reply(200, b"{}", {"network": ms}))
        reference.observe(ms / 1000)
    told = found(tally)
    (family,) = reference.collect()
    for sample in family.samples:
        if sample.name == "s_bucket":
            le = sample.labels["le"] if sample.labels["le"] == "+Inf" else f"{float(sample.labels['le']):g}"
            assert told.get((BUCKET, ("m", "network", le)), 0) == sample.value
    assert told[COUNT, ("m", "network")] == len(TIMES_MS)
    assert abs(told[SUM, ("m", "network")] - sum(TIMES_MS) / 1000) < 1e-6


def test_what_was_told_is_not_told_again():
    tally = Tally(model="m")
    tally.note(Reply(200, b"{}", {"decode": 1.0}, 3))
    tally.note(Reply(415, b"{}", {}))
    first = found(tally)
    assert (first[REPLIES, ("m", "200")], first[REPLIES, ("m", "415")], first[OBJECTS, ("m",)]) == (1, 1, 3)
    assert found(tally) == {}
    tally.note(Reply(200, b"{}", {}))
    assert found(tally) == {(REPLIES, ("m", "200")): 1}


def test_nothing_is_lost_between_threads():
    tally, told = Tally(model="m"), [0.0]
    threads = [
        threading.Thread(target=lambda: [tally.note(Reply(200, b"{}", {})) for _ in range(500)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        told[0] += found(tally).get((REPLIES, ("m", "200")), 0)
    told[0] += found(tally).get((REPLIES, ("m", "200")), 0)
    assert told[0] == 2000
