"""A run that is told to stop does, whatever hangs: its outputs end side by side, and nothing that waits is lost."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.mqtt import Mqtt
from cvforge_edge.sinks.mqtt_settings import MqttSettings
from cvforge_edge.sinks.outgoing import OutgoingSpec
from cvforge_edge.sinks.webhook import Webhook
from cvforge_edge.sinks.webhook_settings import WebhookSettings
from edge.hook_server import HANG, HookServer
from edge.test_pipeline import WAIT_S, GreyPredictor, ListSink, ListSource, SilentCamera

HUNG_HOOKS = 6


class HurriedSink(ListSink):
    """Knows whether it was asked to hurry."""

    hurried = False

    def hurry(self) -> None:
        assert not self.closed
        self.hurried = True


def spec(folder) -> OutgoingSpec:
    return OutgoingSpec(Content.RESULTS, folder, limit_bytes=1_000_000)


@pytest.fixture
def hook_server():
    server = HookServer(*[HANG] * 100)
    yield server
    server.close()


def test_outputs_that_hang_end_side_by_side_and_keep_what_waits(hook_server, tmp_path):
    with socket.socket() as silent:  # a broker that takes connections, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sinks = [Mqtt(MqttSettings("127.0.0.1", silent.getsockname()[1], "t"), spec(tmp_path / "mqtt"))]
        for number in range(HUNG_HOOKS):
            settings = WebhookSettings("127.0.0.1", hook_server.port, f"/{number}")
            sinks.append(Webhook(settings, spec(tmp_path / str(number))))
        stop, asked_s = threading.Event(), []

        def stop_at_the_first(count: int) -> None:
            if count == 1:
                deadline_s = time.monotonic() + WAIT_S
                while len(hook_server.requests) < HUNG_HOOKS and time.monotonic() < deadline_s:
                    time.sleep(0.01)
                asked_s.append(time.monotonic())
                stop.set()

        run_pipeline([SilentCamera(range(5))], [GreyPredictor()], sinks=sinks, stop=stop, on_frame=stop_at_the_first)
        # Half a second on a device that has time; one after the other they would need seven times as long.
        assert time.monotonic() - asked_s[0] < 3.0
    assert [sink.summary().split(": ")[1].split(", 0 dropped")[0] for sink in sinks] == ["0 sent, 1 waiting"] * 7


@pytest.mark.parametrize("source", [SilentCamera(range(5)), ListSource(range(5))])
def test_only_a_run_that_is_stopped_hurries(source):
    stop, sink = threading.Event(), HurriedSink()
    when_stopped = (lambda count: stop.set() if count == 1 else None) if source.live else None
    run_pipeline([source], [GreyPredictor()], sinks=[sink], stop=stop, on_frame=when_stopped)
    assert sink.hurried is source.live
