"""MQTT against a real broker: nothing lost, order kept, last will, passwords, TLS, refusals, stopping."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cvforge_edge.errors import BackendError
from cvforge_edge.events import Event
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.mqtt import Mqtt
from cvforge_edge.sinks.mqtt_connection import ConnectionFailedError, MqttConnection
from cvforge_edge.sinks.mqtt_settings import MqttSettings, mqtt_settings
from cvforge_edge.sinks.outgoing import OutgoingSpec
from cvforge_edge.types import ClassScores
from edge.broker import MOSQUITTO, Broker, Subscriber, free_port, needs_mosquitto, wait_for, without_duplicates
from edge.sink_results import detections, result

pytest.importorskip("paho.mqtt.enums", reason="paho-mqtt is not installed")
pytestmark = needs_mosquitto
CHILD = Path(__file__).with_name("mqtt_child.py")
# paho-mqtt 2.2.0 leaves the socket of a failed handshake to the garbage collector.
failed_handshakes = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
EVENT = Event("door", "line_crossed", "0", 17, 1.25, None, label="red", track_id=9, value=1.0)


def spec_of(folder: Path, **options) -> OutgoingSpec:
    return OutgoingSpec(**{"content": Content.BOTH, "folder": folder, "limit_bytes": 16_000_000, **options})


def with_event(index: int):
    return dataclasses.replace(
        result(index, prediction=detections()), events=(dataclasses.replace(EVENT, frame=index),)
    )


@pytest.fixture
def make_broker(tmp_path):
    """Starts brokers, and ends them after the test."""
    brokers = []

    def make(*lines: str, **options) -> Broker:
        brokers.append(Broker(tmp_path / f"broker{len(brokers)}", *lines, **options))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop(signal.SIGKILL)


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def subscriber(broker):
    subscriber = Subscriber(broker.port)
    yield subscriber
    subscriber.close()


def settings_of(broker: Broker, **options) -> MqttSettings:
    return MqttSettings("127.0.0.1", broker.port, "site/gate", **options)


def connected(sink: Mqtt) -> bool:
    return sink.summary().endswith("; connected")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1])
def test_results_events_and_status_have_their_topics(broker, subscriber, tmp_path, version, qos):
    sink = Mqtt(settings_of(broker, version=version, qos=qos), spec_of(tmp_path / "queue"))
    wait_for(lambda: connected(sink), "connected")
    sink.write(with_event(3))
    wait_for(lambda: "2 sent, 0 waiting" in sink.summary(), sink.summary())
    numbers = {gauge.name: gauge.value for gauge in sink.gauges()}
    assert (numbers["cvforge_output_connected"], numbers["cvforge_messages_sent_total"]) == (1, 2)
    sink.close()
    sink.close()
    wait_for(lambda: len(subscriber.messages) == 4, "four messages")
    assert [body for topic, body, _ in subscriber.messages if topic == "site/gate/status"] == [b"online", b"offline"]
    (found,), (event,) = subscriber.of("site/gate/results"), subscriber.of("site/gate/events")
    assert (found.pop("seq"), event.pop("seq")) == (1, 1)
    assert found.pop("run") == event.pop("run") != ""
    assert event == EVENT.to_value() | {"frame": 3}
    assert found["frame"] == 3
    assert found["detections"][0] == {"label": "red", "class_id": 0, "score": 0.75, "box_xyxy": [5.0, 6.0, 7.0, 8.0]}
    name = f"mqtt://127.0.0.1:{broker.port}/site/gate"
    assert sink.summary() == f"{name}: 2 sent, 0 waiting, 0 dropped, 0 refused; closed"


class Flow:
    """Writes results without a pause, but for those that a test asks for."""

    def __init__(self, sink: Mqtt) -> None:
        self.sink, self.written = sink, 0
        self._going, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._writing = threading.Lock()
        self._going.set()
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.004):
            self._going.wait()
            with self._writing:
                self.sink.write(result(self.written, prediction=detections()))
                self.written += 1

    def pause(self) -> None:
        self._going.clear()
        with self._writing:
            pass

    def resume(self) -> None:
        self._going.set()

    def wait_for_more(self, count: int) -> None:
        goal = self.written + count
        wait_for(lambda: self.written > goal, "messages flow")

    def end(self) -> None:
        self._ended.set()
        self._going.set()
        self._thread.join()


@pytest.mark.parametrize("restarts", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_no_message_is_lost_while_the_broker_is_killed_and_restarted(broker, subscriber, tmp_path, restarts):
    # What mosquitto has acknowledged and not passed on outlasts SIGTERM, not SIGKILL: for that it is frozen in a moment when
    # all has arrived, and killed with messages on their way that it has not acknowledged.
    broker.save()
    flow = Flow(Mqtt(settings_of(broker), spec_of(tmp_path / "queue")))
    try:
        for restart in range(restarts):
            newest = flow.written + 20
            wait_for(lambda: _newest(subscriber) > newest, "messages arrive")  # noqa: B023
            if restart % 2 == 0:
                flow.pause()
                wait_for(lambda: _newest(subscriber) == flow.written, "all has arrived")
                broker.freeze()
                flow.resume()
                flow.wait_for_more(100)
            broker.stop(signal.SIGKILL if restart % 2 == 0 else signal.SIGTERM)
            flow.wait_for_more(50)
            broker.start()
    finally:
        flow.end()
    wait_for(lambda: "0 waiting" in flow.sink.summary(), "all is sent")
    wait_for(lambda: _newest(subscriber) == flow.written, "all has arrived")
    flow.sink.close()
    messages = subscriber.of("site/gate/results")
    (run,) = {message["run"] for message in messages}
    assert without_duplicates(messages) == [(run, seq) for seq in range(1, flow.written + 1)]
    assert f": {flow.written} sent, 0 waiting, 0 dropped, 0 refused" in flow.sink.summary()


def _newest(subscriber: Subscriber) -> int:
    for topic, body, _ in reversed(subscriber.messages):
        if topic == "site/gate/results":
            return int(json.loads(body)["seq"])
    return 0


def test_what_could_not_be_sent_is_sent_at_the_next_start_in_order_and_events_first(make_broker, tmp_path):
    port = free_port()
    for start in (0, 5):
        sink = Mqtt(MqttSettings("127.0.0.1", port, "site/gate"), spec_of(tmp_path / "queue"))
        for index in range(start, start + 5):
            sink.write(with_event(index))
        sink.close()
        assert f": 0 sent, {2 * (start + 5)} waiting, 0 dropped, 0 refused" in sink.summary()
    make_broker(port=port)
    subscriber = Subscriber(port)
    sink = Mqtt(MqttSettings("127.0.0.1", port, "site/gate"), spec_of(tmp_path / "queue"))
    wait_for(lambda: "20 sent" in sink.summary(), "all is sent")
    sink.close()
    wait_for(lambda: len(subscriber.messages) == 22, "all has arrived")
    subscriber.close()
    for kind in ("results", "events"):
        assert [message["frame"] for message in subscriber.of(f"site/gate/{kind}")] == list(range(10))
    kinds = [topic.rsplit("/", 1)[1] for topic, _, _ in subscriber.messages]
    assert kinds == ["status", *["events"] * 10, *["results"] * 10, "status"]


def test_nothing_is_lost_when_this_process_is_killed(broker, subscriber, tmp_path):
    total = [0]
    for kill_after in (30, 200):
        command = [sys.executable, "-I", str(CHILD), str(broker.port), str(tmp_path / "queue")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            announced = [int(child.stdout.readline()) for _ in range(kill_after)]
            child.kill()
            announced += [int(line) for line in child.stdout.read().splitlines() if line]
        total.append(len(announced))
    wait_for(lambda: b"offline" in [m[1] for m in subscriber.messages], "the broker says that we are gone")
    sink = Mqtt(settings_of(broker), spec_of(tmp_path / "queue"))
    wait_for(lambda: "0 waiting" in sink.summary() and connected(sink), "all is sent")
    sink.close()
    wait_for(lambda: subscriber.messages and subscriber.messages[-1][1] == b"offline", "all has arrived")
    messages = subscriber.of("site/gate/results")
    runs = list(dict.fromkeys(message["run"] for message in messages))
    for run, count in zip(runs, total[1:], strict=True):
        found = [seq for of, seq in without_duplicates(messages) if of == run]
        assert found == list(range(1, len(found) + 1))
        assert count <= len(found) <= count + 1


def test_the_last_will_is_kept_for_those_who_come_later(broker, tmp_path):
    command = [sys.executable, "-I", str(CHILD), str(broker.port), str(tmp_path / "queue")]
    before = Subscriber(broker.port, "site/gate/status")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        child.stdout.readline()
        wait_for(lambda: [m[1] for m in before.messages] == [b"online"], "online")
        child.kill()
        child.stdout.read()
    wait_for(lambda: [m[1] for m in before.messages] == [b"online", b"offline"], "the last will")
    before.close()
    later = Subscriber(broker.port, "site/+/status", user=None)
    wait_for(lambda: ("site/gate/status", b"offline", True) in later.messages, "the kept status")
    later.close()


def test_a_wrong_password_is_said_and_messages_wait(make_broker, tmp_path, caplog):
    broker = secured_broker(make_broker, tmp_path, "right")
    caplog.set_level(logging.INFO)
    wrong = Mqtt(settings_of(broker, user="cam", password="wrong-one"), spec_of(tmp_path / "queue"))
    wrong.write(result())
    wait_for(lambda: "Not authorized" in wrong.summary() or "Bad user name" in wrong.summary(), wrong.summary())
    wrong.close()
    assert "0 sent, 1 waiting" in wrong.summary()
    right = Mqtt(settings_of(broker, user="cam", password="right"), spec_of(tmp_path / "queue"))
    wait_for(lambda: "1 sent, 0 waiting" in right.summary(), "sent")
    right.close()
    assert f"mqtt://cam@127.0.0.1:{broker.port}/site/gate: the broker refuses" in caplog.text
    assert "wrong-one" not in caplog.text + wrong.summary() + repr(
        settings_of(broker, user="cam", password="wrong-one")
    )
    assert "connected, 1 messages wait" in caplog.text


def test_a_topic_without_permission_is_an_error_that_is_counted(make_broker, tmp_path, caplog):
    rights = tmp_path / "rights"
    rights.write_text("user cam\ntopic write site/gate/status\ntopic write site/gate/events\n")
    broker = secured_broker(make_broker, tmp_path, "right", f"acl_file {rights}")
    sink = Mqtt(settings_of(broker, user="cam", password="right"), spec_of(tmp_path / "queue"))
    for index in range(3):
        sink.write(with_event(index))
    wait_for(lambda: "3 sent, 0 waiting, 0 dropped, 3 refused" in sink.summary(), sink.summary())
    sink.close()
    assert caplog.text.count("the broker refuses a message") == 1
    assert "/results: Not authorized" in caplog.text


def test_a_message_larger_than_the_broker_takes_does_not_block_the_others(make_broker, tmp_path, caplog):
    broker = make_broker("max_packet_size 2000")
    sink = Mqtt(settings_of(broker), spec_of(tmp_path / "queue"))
    sink.write(result(0, source="x" * 3000))
    sink.write(result(1))
    wait_for(lambda: "1 sent, 0 waiting, 0 dropped, 1 refused" in sink.summary(), sink.summary())
    sink.close()
    assert "larger than the broker takes" in caplog.text


def secured_broker(make_broker, tmp_path: Path, password: str, *lines: str) -> Broker:
    """One that lets the user `cam` in."""
    passwords = tmp_path / "passwords"
    tool = Path(MOSQUITTO).parent.parent / "bin" / "mosquitto_passwd"
    subprocess.run([tool, "-b", "-c", str(passwords), "cam", password], check=True, capture_output=True)
    return make_broker(f"password_file {passwords}", *lines)


@pytest.fixture
def certificates(tmp_path):
    """A CA of our own, and a certificate that it gave to 127.0.0.1."""
    pytest.importorskip("cryptography")
    from edge.certificates import write_certificates

    return write_certificates(tmp_path / "certificates")


@failed_handshakes
def test_tls_with_a_ca_of_ones_own_checks_the_broker(make_broker, tmp_path, certificates):
    server, other = certificates, certificates.parent / "other"
    broker = make_broker(
        f"certfile {server}/server.pem",
        f"keyfile {server}/server.key",
        "require_certificate false",
    )
    address = f"mqtts://127.0.0.1:{broker.port}/site/gate"
    for ca_file, wrong in ((None, True), (f"{other}.pem", True), (f"{server}/ca.pem", False)):
        if wrong and ca_file is not None:
            from edge.certificates import write_certificates

            Path(ca_file).write_bytes((write_certificates(other) / "ca.pem").read_bytes())
        sink = Mqtt(mqtt_settings(address, password=None, ca_file=ca_file), spec_of(tmp_path / "queue"))
        sink.write(result())
        if wrong:
            wait_for(lambda: "TLS: " in sink.summary(), sink.summary())  # noqa: B023
        else:
            wait_for(lambda: "3 sent, 0 waiting" in sink.summary(), sink.summary())  # noqa: B023
        sink.close()


@failed_handshakes
def test_a_certificate_for_another_name_is_refused(make_broker, tmp_path, certificates):
    broker = make_broker(f"certfile {certificates}/server.pem", f"keyfile {certificates}/server.key")
    ca_file = str(certificates / "ca.pem")
    address = f"mqtts://localhost:{broker.port}/site/gate"
    sink = Mqtt(mqtt_settings(address, password=None, ca_file=ca_file), spec_of(tmp_path / "queue"))
    wait_for(lambda: "TLS: " in sink.summary(), sink.summary())
    assert "ostname mismatch" in sink.summary()
    sink.close()


def test_write_and_close_do_not_wait_for_a_broker_that_does_not_answer(tmp_path):
    with socket.socket() as silent:  # takes connections, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sink = Mqtt(MqttSettings("127.0.0.1", silent.getsockname()[1], "t"), spec_of(tmp_path / "queue"))
        started_s = time.monotonic()
        for index in range(500):
            sink.write(result(index))
        assert time.monotonic() - started_s < 5.0  # a second for one write would be 500
        started_s = time.monotonic()
        sink.close()
        assert time.monotonic() - started_s < 4.0  # about one; the machine may be busy
    assert ": 0 sent, 500 waiting, 0 dropped" in sink.summary()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_attempts_and_connections_leave_nothing_open_behind(broker):
    def attempt(port: int) -> None:
        try:
            with MqttConnection(MqttSettings("127.0.0.1", port, "t")) as connection:
                connection.open()
                connection.publish("results", b"{}")
                connection.leave(timeout_s=5.0)
        except ConnectionFailedError:
            return

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def connections() -> int:
        return sum(type(found) is MqttConnection for found in gc.get_objects())  # isinstance would wake lazy objects

    closed = free_port()
    attempt(broker.port)
    gc.collect()
    before, connections_before = open_files(), connections()
    gc.disable()
    try:
        for port in [broker.port, closed] * 20:
            attempt(port)
        assert open_files() == before
        assert connections() == connections_before
    finally:
        gc.enable()


def test_results_are_thinned_out_and_events_are_not(broker, subscriber, tmp_path):
    sink = Mqtt(settings_of(broker), spec_of(tmp_path / "queue", results_per_s=5.0))
    for index in range(60):  # two seconds at 30 frames a second
        one = with_event(index)
        frame = dataclasses.replace(one.frame, captured_s=index / 30)
        sink.write(dataclasses.replace(one, frame=frame))
    wait_for(lambda: "0 waiting" in sink.summary(), "all is sent")
    sink.close()
    wait_for(lambda: subscriber.messages and subscriber.messages[-1][1] == b"offline", "all has arrived")
    assert [m["frame"] for m in subscriber.of("site/gate/results")] == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]
    assert len(subscriber.of("site/gate/events")) == 60


def test_nan_is_an_error_and_not_invalid_json(tmp_path):
    sink = Mqtt(MqttSettings("127.0.0.1", free_port(), "t"), spec_of(tmp_path / "queue"))
    with pytest.raises(BackendError, match="NaN"):
        sink.write(result(prediction=ClassScores(np.array([np.nan, 0.5], np.float32))))
    sink.close()


def test_sending_goes_on_after_an_unexpected_error_and_nothing_is_lost(
    broker, subscriber, tmp_path, monkeypatch, caplog
):
    real, failures = MqttConnection.publish, [ZeroDivisionError("a mistake")]

    def publish(connection, kind, body):
        if failures:
            raise failures.pop()
        return real(connection, kind, body)

    monkeypatch.setattr(MqttConnection, "publish", publish)
    monkeypatch.setattr("cvforge_edge.sinks.mqtt.LONGEST_RETRY_S", 0.01)
    sink = Mqtt(settings_of(broker), spec_of(tmp_path / "queue"))
    for index in range(3):
        sink.write(result(index))
    wait_for(lambda: ": 3 sent, 0 waiting" in sink.summary(), "3 sent")
    sink.close()
    wait_for(lambda: len(subscriber.of("site/gate/results")) == 3, "all has arrived")
    assert [message["frame"] for message in subscriber.of("site/gate/results")] == [0, 1, 2]
    assert "unexpected error, see the log; trying again" in caplog.text
    assert "ZeroDivisionError: a mistake" in caplog.text
