"""Webhooks against a real web server that fails, hangs, asks for patience and closes connections."""

from __future__ import annotations

import base64
import dataclasses
import email.utils
import hashlib
import hmac
import logging
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.events import Event
from cvforge_edge.sinks import webhook as webhook_module
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.outgoing import OutgoingSpec
from cvforge_edge.sinks.webhook import Webhook
from cvforge_edge.sinks.webhook_request import LONGEST_RETRY_AFTER_S, WebhookRequest, retry_after_s
from cvforge_edge.sinks.webhook_settings import WebhookSettings, webhook_settings
from edge.broker import free_port, wait_for
from edge.hook_server import CUT, DRIP, HANG, HookServer
from edge.sink_results import detections, result

EVENT = Event("door", "line_crossed", "0", 17, 1.25, None, label="red", track_id=9, value=1.0)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(webhook_module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(webhook_module, "LONGEST_RETRY_S", 0.05)


@pytest.fixture
def start_server():
    servers = []

    def start(*answers, **options) -> HookServer:
        servers.append(HookServer(*answers, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def with_event(index: int = 0):
    return dataclasses.replace(
        result(index, prediction=detections()), events=(dataclasses.replace(EVENT, frame=index),)
    )


def sink_to(port: int, folder: Path, *, content=Content.EVENTS, picture=False, **options) -> Webhook:
    settings = WebhookSettings("127.0.0.1", port, "/hook?key=hidden", **options)
    return Webhook(settings, OutgoingSpec(content, folder, limit_bytes=16_000_000, picture=picture))


def sent(sink: Webhook, count: int) -> None:
    wait_for(lambda: f": {count} sent, 0 waiting" in sink.summary(), f"{count} sent")
    sink.close()


def frames(server: HookServer) -> list[int]:
    return [request.value["frame"] for request in server.requests]


def test_each_event_is_one_request_with_secrets_in_its_headers(start_server, tmp_path):
    server = start_server()
    sink = sink_to(server.port, tmp_path, token="the-token", signing_key="the-key")
    sink.write(result())
    for index in range(3):
        sink.write(with_event(index))
    sent(sink, 3)
    sink.close()
    assert frames(server) == [0, 1, 2]
    request = server.requests[0]
    run = request.value["run"]
    assert request.value == {"run": run, "seq": 1, **EVENT.to_value(), "frame": 0}
    assert request.path == "/hook?key=hidden"
    assert request.headers["Authorization"] == "Bearer the-token"
    signature = hmac.new(b"the-key", request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-CVForge-Signature-256"] == f"sha256={signature}"
    assert request.headers["X-CVForge-Kind"] == "events"
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 3
    name = f"http://127.0.0.1:{server.port}"
    assert sink.summary() == f"{name}: 3 sent, 0 waiting, 0 dropped, 0 refused, 0 tried again; ok; closed"


@pytest.mark.parametrize("answer", [500, 503, 408, 429, 302, CUT])
def test_what_may_pass_is_tried_again_in_order(start_server, tmp_path, answer, caplog):
    server = start_server(answer, answer, 200, answer)
    sink = sink_to(server.port, tmp_path)
    for index in range(3):
        sink.write(with_event(index))
    sent(sink, 3)
    assert frames(server) == [0, 0, 0, 1, 1, 2]
    keys = [request.headers["Idempotency-Key"] for request in server.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert "3 tried again" in sink.summary()
    assert "hidden" not in caplog.text + sink.summary()


@pytest.mark.parametrize("answer", [400, 401, 404, 410, 413])
def test_what_the_server_refuses_is_given_up_counted_and_said_once(start_server, tmp_path, answer, caplog):
    server = start_server(answer, answer, 200)
    sink = sink_to(server.port, tmp_path)
    for index in range(3):
        sink.write(with_event(index))
    wait_for(lambda: "1 sent, 0 waiting, 0 dropped, 2 refused, 0 tried again" in sink.summary(), "all is dealt with")
    assert {gauge.name.removeprefix("cvforge_messages_"): gauge.value for gauge in sink.gauges()} == {
        "waiting": 0,
        "sent_total": 1,
        "dropped_total": 0,
        "refused_total": 2,
    }
    sink.close()
    assert frames(server) == [0, 1, 2]
    assert caplog.text.count(f"with {answer} ") == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_the_pause_that_a_server_asks_for_is_kept(start_server, tmp_path, as_date):
    wait_s = 2
    value = email.utils.formatdate(time.time() + wait_s + 1, usegmt=True) if as_date else str(wait_s)
    server = start_server((429, {"Retry-After": value}))
    sink = sink_to(server.port, tmp_path)
    sink.write(with_event())
    wait_for(lambda: "429 Too Many Requests" in sink.summary(), "429")
    asked_s = time.monotonic()
    sent(sink, 1)
    assert time.monotonic() - asked_s > wait_s - 0.5


def test_pauses_are_read_as_the_standard_says_and_are_bounded():
    assert retry_after_s("7", now_unix_s=0.0) == 7.0
    assert retry_after_s("Thu, 01 Jan 1970 00:00:10 GMT", now_unix_s=20.0) == 0.0
    assert retry_after_s("99999999", now_unix_s=0.0) == LONGEST_RETRY_AFTER_S
    assert [retry_after_s(text, now_unix_s=0.0) for text in (None, "", "soon", "-5", "1e5")] == [None] * 5


@pytest.mark.parametrize("answer", [HANG, DRIP])
def test_a_server_that_hangs_is_given_up_and_tried_again(start_server, tmp_path, caplog, answer):
    server = start_server(answer)
    sink = sink_to(server.port, tmp_path, timeout_s=0.2)
    sink.write(with_event())
    sent(sink, 1)
    assert frames(server) == [0, 0]
    assert "1 tried again" in sink.summary()
    reason = {HANG: "timed out", DRIP: "no answer within 0.6 s"}[answer]
    assert f"{reason}; trying again, messages wait on disk" in caplog.text


@pytest.mark.parametrize("answer", [HANG, DRIP])
def test_closing_does_not_wait_for_a_server_that_hangs(start_server, tmp_path, caplog, answer):
    server = start_server(answer)
    sink = sink_to(server.port, tmp_path)
    sink.write(with_event())
    wait_for(lambda: len(server.requests) == 1, "the request is there")
    started_s = time.monotonic()
    sink.close()
    assert time.monotonic() - started_s < 4.0  # about one; the machine may be busy
    assert ": 0 sent, 1 waiting" in sink.summary()
    assert sink.summary().endswith(", 0 tried again; no answer before the end of the run; closed")
    assert "no answer" not in caplog.text


def test_without_a_server_messages_wait_for_the_next_start(start_server, tmp_path, caplog):
    port = free_port()
    sink = sink_to(port, tmp_path)
    for index in range(3):
        sink.write(with_event(index))
    wait_for(lambda: "Connection refused" in sink.summary(), "refused")
    sink.close()
    assert ": 0 sent, 3 waiting" in sink.summary()
    assert caplog.text.count("Connection refused; trying again") == 1
    caplog.set_level(logging.INFO)
    server = start_server(port=port)
    sink = sink_to(port, tmp_path)
    sink.write(with_event(3))
    sent(sink, 4)
    assert frames(server) == [0, 1, 2, 3]
    assert len({request.value["run"] for request in server.requests}) == 2
    assert "3 messages of an earlier run wait" in caplog.text


def test_results_are_sent_where_they_are_asked_for(start_server, tmp_path):
    server = start_server()
    sink = sink_to(server.port, tmp_path, content=Content.RESULTS)
    sink.write(with_event(5))
    sent(sink, 1)
    assert server.requests[0].headers["X-CVForge-Kind"] == "results"
    assert [found["label"] for found in server.requests[0].value["detections"]] == ["red", "blue"]


def test_an_event_brings_its_annotated_picture_along(start_server, tmp_path):
    server = start_server()
    sink = sink_to(server.port, tmp_path, picture=True)
    one = with_event()
    sink.write(one)
    sent(sink, 1)
    data = np.frombuffer(base64.b64decode(server.requests[0].value["picture_jpeg_base64"]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture.shape == one.annotated_bgr.shape
    away = [np.abs(picture.astype(int) - image).mean() for image in (one.annotated_bgr, one.frame.image_bgr)]
    assert away[0] < 0.5 * away[1]


def test_https_checks_the_certificate(start_server, tmp_path, caplog):
    pytest.importorskip("cryptography")
    from edge.certificates import write_certificates

    certificates = write_certificates(tmp_path / "certificates")
    server = start_server(certificates=certificates)
    for ca_file, words in ((None, "unable to get local issuer certificate"), (str(certificates / "ca.pem"), "1 sent")):
        address = f"https://127.0.0.1:{server.port}/hook"
        settings = webhook_settings(address, token=None, signing_key=None, ca_file=ca_file)
        sink = Webhook(settings, OutgoingSpec(Content.EVENTS, tmp_path / "queue", limit_bytes=1_000_000))
        if ca_file is None:
            sink.write(with_event())
        wait_for(lambda: words in sink.summary(), words)  # noqa: B023
        sink.close()
    assert len(server.requests) == 1


def test_sending_goes_on_after_an_unexpected_error_and_nothing_is_lost(start_server, tmp_path, monkeypatch, caplog):
    server, real, failures = start_server(), WebhookRequest.send, [ZeroDivisionError("a mistake")]

    def send(request, kind, body):
        if failures:
            raise failures.pop()
        return real(request, kind, body)

    monkeypatch.setattr(WebhookRequest, "send", send)
    monkeypatch.setattr(webhook_module, "LONGEST_RETRY_S", 0.01)
    sink = sink_to(server.port, tmp_path)
    for index in range(3):
        sink.write(with_event(index))
    sent(sink, 3)
    assert frames(server) == [0, 1, 2]
    assert "unexpected error, see the log; trying again" in caplog.text
    assert "ZeroDivisionError: a mistake" in caplog.text
