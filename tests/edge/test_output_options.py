"""Options of outputs: addresses, secrets, pairs that belong together, and the whole command with real receivers."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.sinks.mqtt_settings import mqtt_settings
from cvforge_edge.sinks.webhook_settings import webhook_settings
from edge.broker import Broker, Subscriber, needs_mosquitto, wait_for
from edge.hook_server import HookServer

EDGE = Path(__file__).resolve().parents[2] / "deploy" / "edge"
ALONE = "belongs to"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames with a red square."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (96, 64))
    for _ in range(10):
        frame = np.zeros((64, 96, 3), np.uint8)
        frame[16:32, 32:48] = (0, 0, 255)
        writer.write(frame)
    writer.release()
    return tmp_path / "clip.mp4"


def run_camera(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(EDGE / "run_camera.py"), *map(str, arguments)]
    environment = {**os.environ, "XDG_STATE_HOME": str(cwd / "state"), **environment}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("address", "name", "topic", "user"),
    [
        ("mqtt://broker.local/site/gate", "mqtt://broker.local:1883/site/gate", "site/gate", None),
        ("mqtts://cam@broker.local/t", "mqtts://cam@broker.local:8883/t", "t", "cam"),
        ("mqtt://a%40b@[::1]:2000/t/ä", "mqtt://a@b@[::1]:2000/t/ä", "t/ä", "a@b"),
    ],
)
def test_mqtt_addresses_are_understood(address, name, topic, user):
    settings = mqtt_settings(address, password=None)
    assert (settings.name, settings.topic, settings.user) == (name, topic, user)
    assert (settings.tls is not None) == address.startswith("mqtts")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("broker.local/topic", "accepted mqtt"),
        ("http://broker.local/topic", "accepted mqtt"),
        ("mqtt:///topic", "accepted mqtt"),
        ("mqtt://host:99999/topic", "accepted mqtt"),
        ("mqtt://host:x/topic", "accepted mqtt"),
        ("mqtt://[::1/topic", "accepted mqtt"),
        ("mqtt://host", "the topic is empty"),
        ("mqtt://host/a/", "ends with a slash"),
        ("mqtt://host//a", "begins or ends with a slash"),
        ("mqtt://host/a/+/b", "neither"),
        ("mqtt://host/a/#", "neither"),
        ("mqtt://host/%24SYS", "not begin with"),
        ("mqtt://host/a%00b", "control characters"),
        ("mqtt://host/" + "a" * 70_000, "longer than"),
        ("mqtt://host/a?qos=1", "accepted mqtt"),
        ("mqtt://cam:secret@host/a", "CVFORGE_MQTT_PASSWORD"),
    ],
)
def test_mqtt_addresses_that_cannot_work_are_refused(address, words):
    with pytest.raises(UsageError, match=words) as caught:
        mqtt_settings(address, password=None)
    assert caught.value.exit_code == 2
    assert "secret" not in str(caught.value)


def test_what_does_not_belong_to_an_mqtt_address_is_refused(tmp_path):
    with pytest.raises(UsageError, match="names no user"):
        mqtt_settings("mqtt://host/a", password="x")
    with pytest.raises(UsageError, match="only mqtts"):
        mqtt_settings("mqtt://host/a", password=None, ca_file="ca.pem")
    with pytest.raises(UsageError, match=r"missing\.pem: no such file"):
        mqtt_settings("mqtts://host/a", password=None, ca_file=str(tmp_path / "missing.pem"))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(UsageError, match="holds no certificate"):
        mqtt_settings("mqtts://host/a", password=None, ca_file=str(tmp_path / "empty.pem"))


def test_webhook_addresses_are_understood_and_their_secrets_kept_out_of_texts():
    settings = webhook_settings("https://host/a/secret?b=secret", token="secret", signing_key="secret")
    assert (settings.name, settings.port, settings.target) == ("https://host:443", 443, "/a/secret?b=secret")
    assert "secret" not in repr(settings)
    assert webhook_settings("http://[::1]:81", token=None, signing_key=None).name == "http://[::1]:81"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://host/a", "accepted http"),
        ("host/a", "accepted http"),
        ("http:///a", "accepted http"),
        ("http://host:0x/a", "accepted http"),
        ("http://host/a#b", "accepted http"),
        ("http://host/a b", "%20"),
        ("http://host/ä", "ASCII"),
        ("http://me:secret@host/a", "CVFORGE_WEBHOOK_TOKEN"),
    ],
)
def test_webhook_addresses_that_cannot_work_are_refused(address, words):
    with pytest.raises(UsageError, match=words) as caught:
        webhook_settings(address, token=None, signing_key=None)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--csv", "clip.mp4"), 2, "would replace the source"),
        (("--csv", "a.csv", "--json", "./a.csv"), 2, "--csv a.csv: is also the place of --json"),
        (("--csv", "-", "--json", "-"), 2, "--csv -: is also the place of --json"),
        (("--csv", "missing/a.csv"), 10, "cannot be created"),
        (("--csv", "/dev/full"), 10, "No space left on device"),
        (("--rotate", "1"), 2, "--rotate: needs --json or --csv"),
        (("--rotate", "1", "--json", "-"), 2, "--rotate: needs --json or --csv"),
        (("--rotate", "1", "--save", "pictures/"), 2, "or --save with a video"),
        (("--rotate", "1", "--json", "/dev/null"), 2, "/dev/null is a device or a pipe"),
        (("--rotate", "0", "--json", "a"), 2, "accepted whole numbers"),
        (("--json", "a", "--rotate-keep", "2"), 2, f"--rotate-keep: {ALONE} --rotate,"),
        (("--mqtt-qos", "0"), 2, f"--mqtt-qos: {ALONE} --mqtt,"),
        (("--webhook-picture",), 2, f"--webhook-picture: {ALONE} --webhook,"),
        (("--csv-content", "both"), 2, f"--csv-content: {ALONE} --csv,"),
        (("--queue", "q", "--send-rate", "1"), 2, f"--queue, --send-rate: {ALONE} --mqtt or --webhook"),
        (("--mqtt", "mqtt://cam:secret@host/a"), 2, "CVFORGE_MQTT_PASSWORD"),
        (("--webhook", "@missing"), 2, "--webhook @missing: no such file"),
        (
            ("--webhook", "http://127.0.0.1:9/", "--queue", "file"),
            10,
            "name a folder that may be written to",
        ),
        (("--webhook", "http://127.0.0.1:9/", "--webhook-timeout", "0"), 2, "accepted numbers above 0"),
    ],
)
def test_options_that_cannot_work_end_with_a_message_and_their_code(
    make_bundle, clip, tmp_path, arguments, code, words
):
    before = clip.read_bytes()
    (tmp_path / "file").touch()
    bundle = make_bundle("detector", formats=("onnx",))
    run = run_camera("--bundle", bundle, "--source", "clip.mp4", *arguments, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert words in run.stderr
    assert "Traceback" not in run.stderr
    assert "secret" not in run.stderr
    assert clip.read_bytes() == before


def test_without_paho_mqtt_the_command_says_what_to_install(tmp_path, monkeypatch):
    from cvforge_edge.errors import BackendError
    from cvforge_edge.sinks.mqtt_connection import check_paho

    monkeypatch.setitem(sys.modules, "paho.mqtt.enums", None)
    with pytest.raises(BackendError, match="pip install") as caught:
        check_paho()
    assert caught.value.exit_code == 11


def test_csv_of_a_clip_is_set_aside_by_size(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    (tmp_path / "out.csv").write_text("from before\n")
    arguments = ("--csv", "out.csv", "--rotate", 1, "--rotate-keep", 2)
    run = run_camera("--bundle", bundle, "--source", clip, *arguments, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "out.csv: 10 rows of CSV" in run.stderr
    assert (tmp_path / "out.csv.1").read_text() == "from before\n"
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["label"], row["x1"]) for row in rows] == [(str(i), "red", "32.0") for i in range(10)]


def test_a_clip_goes_to_a_webhook_whose_address_is_in_a_file(make_bundle, clip, tmp_path):
    server = HookServer()
    (tmp_path / "address").write_text(f"http://127.0.0.1:{server.port}/secret-path\n")
    arguments = ("--webhook", "@address", "--webhook-content", "results")
    run = run_camera(
        "--bundle",
        make_bundle("detector", formats=("onnx",)),
        "--source",
        clip,
        *arguments,
        cwd=tmp_path,
        CVFORGE_WEBHOOK_TOKEN="secret-token",
    )
    server.close()
    assert run.returncode == 0, run.stderr
    assert "secret" not in run.stderr + run.stdout
    assert [json.loads(request.body)["frame"] for request in server.requests] == list(range(len(server.requests)))
    assert len(server.requests) > 0
    assert {request.path for request in server.requests} == {"/secret-path"}
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer secret-token"}
    assert f"http://127.0.0.1:{server.port}: {len(server.requests)} sent" in run.stderr
    assert list((tmp_path / "state" / "cvforge" / "queue").iterdir()) != []


@needs_mosquitto
def test_a_clip_goes_to_a_broker_and_what_it_missed_with_the_next_one(make_bundle, clip, tmp_path):
    pytest.importorskip("paho.mqtt.enums")
    broker = Broker(tmp_path / "broker")
    subscriber = Subscriber(broker.port)
    broker.stop()
    bundle = make_bundle("detector", formats=("onnx",))
    arguments = ("--bundle", bundle, "--source", clip, "--mqtt", f"mqtt://127.0.0.1:{broker.port}/a", "--queue", "q")
    run = run_camera(*arguments, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert ": 0 sent, 10 waiting, 0 dropped, 0 refused; closed" in run.stderr
    broker.start()
    run = run_camera(*arguments, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert ": 20 sent, 0 waiting, 0 dropped, 0 refused; closed" in run.stderr
    wait_for(lambda: len(subscriber.of("a/results")) == 20, "all has arrived")
    subscriber.close()
    broker.stop()
    assert [message["frame"] for message in subscriber.of("a/results")] == [*range(10), *range(10)]
