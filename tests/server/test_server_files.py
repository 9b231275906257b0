"""What TorchServe is told in its configuration."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import cv2
import pytest

from conftest import REPOSITORY
from cvforge_edge.errors import UsageError
from cvforge_server.commands import start as start_command
from cvforge_server.commands.options import SERVER, STORE
from cvforge_server.errors import ServerError
from cvforge_server.images import LARGEST_ANSWER_MB
from cvforge_server.torchserve.process import Running, start
from cvforge_server.torchserve.server_files import KEYS_NAME, Ports, ServerConfig, archives_in
from edge.conftest import build_bundle, two_squares
from server.real_server import MISSING, free_port, start_server, stop_server


def properties(**options: Any) -> dict[str, str]:
    text = ServerConfig(Path("store"), {"a": "a.mar"}, Ports.beginning_at(9000), **options).properties(Path("server"))
    return dict(line.split("=", 1) for line in text.splitlines())


def test_everything_is_on_loopback_unless_told_otherwise():
    usual = properties()
    addresses = {name: value for name, value in usual.items() if name.endswith("_address")}
    assert len(addresses) == 5 and all("127.0.0.1" in value for value in addresses.values())
    assert properties(grpc_host="10.0.0.1")["grpc_inference_address"] == "10.0.0.1"
    open_to_others = properties(host="0.0.0.0")
    assert open_to_others["inference_address"] == "http://0.0.0.0:9000"
    assert open_to_others["grpc_inference_address"] == open_to_others["grpc_management_address"] == "127.0.0.1"


def test_a_store_without_the_archive_says_what_it_has_and_what_to_do(tmp_path):
    advice = "make one with tools/serve.py archive --bundle BUNDLE"
    for store in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError) as none:
            archives_in(store, [])
        assert str(none.value) == f"{store}: no archive is there; {advice}, or name another folder with --store"
    (tmp_path / "a.mar").touch()
    with pytest.raises(UsageError) as other:
        archives_in(tmp_path, ["a", "b", "c"])
    assert str(other.value) == f"{tmp_path}: no archive b, c; found a; {advice}"


def test_a_java_that_is_missing_is_named_with_the_place_that_was_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(
        ServerError,
        match=r"bin/java \(of JAVA_HOME\): not found; TorchServe needs Java 11 .*and unset JAVA_HOME, or let",
    ) as of:
        start(ServerConfig(tmp_path, {}, Ports.beginning_at(9000)), tmp_path / "server")
    assert str(of.value).startswith(f"{tmp_path}/bin/java (of JAVA_HOME): ")
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match=r"^java: not found; TorchServe needs Java 11 or newer: .*headless$"):
        start(ServerConfig(tmp_path, {}, Ports.beginning_at(9000)), tmp_path / "server")


def test_where_no_server_is_the_message_says_how_to_start_one(tmp_path):
    with pytest.raises(
        ServerError, match=r"no server was started there, or it was stopped; start one with tools/serve\.py"
    ):
        Running.read(tmp_path)


def test_git_leaves_tokens_and_archives_alone():
    paths = [str(SERVER / KEYS_NAME), str(STORE / "det_bccd" / "model-config.yaml")]
    told = subprocess.run(["git", "check-ignore", *paths], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if "not a git repository" in told.stderr:
        pytest.skip("not in a clone")
    assert told.stdout.splitlines() == paths


def test_torchserves_half_of_the_open_inference_protocol_is_there_only_where_it_is_asked_for():
    assert properties()["ts_open_inference_protocol"] == "false"
    assert properties(open_inference=True)["ts_open_inference_protocol"] == "true"


def test_the_memory_is_as_large_as_it_is_said_to_be():
    assert properties(heap_mb=2000)["vmargs"].startswith("-Xmx2000m -XX:MaxDirectMemorySize=2000m ")


def test_full_queues_fit_into_the_memory_unless_the_start_warns_of_it(tmp_path, capsys, monkeypatch):
    class StartedError(Exception):
        pass

    def refuse(config: ServerConfig, folder: Path) -> None:
        raise StartedError

    monkeypatch.setattr("cvforge_server.commands.start.start", refuse)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for name in ("a", "b"):
        (tmp_path / f"{name}.mar").touch()
    for options, warned in (
        (["--models", "a"], ""),
        (["--models", "a", "--queue", "21"], "1 full queues of 21 requests of 30 MB take 1260 MB"),
        (["--models", "a", "--queue", "600", "--max-request-mb", "1"], ""),
        (["--heap-mb", "2399"], "2 full queues of 20 requests of 30 MB take 2400 MB"),
    ):
        with pytest.raises(StartedError):
            start_command.main(["--store", str(tmp_path), *options])
        told = capsys.readouterr().err
        assert warned in told and bool(told) == bool(warned)


def test_torchserve_takes_every_answer_that_an_archive_may_allow():
    assert int(properties()["max_response_size"]) > LARGEST_ANSWER_MB * 1e6
    assert int(properties()["max_response_size"]) < 2**31


def test_a_port_that_is_taken_is_named():
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port + 1)),
        pytest.raises(ServerError, match=rf"port {port + 1} \(grpc\)") as caught,
    ):
        Ports.beginning_at(port).check_free(host="127.0.0.1", grpc_host="127.0.0.1")
    assert caught.value.exit_code == 14


@pytest.mark.parametrize("address", ["999.1.1.1", "203.0.113.7", "", "x" * 80])
def test_an_address_that_is_none_of_this_machine_is_not_taken_for_a_port(address):
    for option, hosts in (("--host", (address, "127.0.0.1")), ("--grpc-host", ("127.0.0.1", address))):
        with pytest.raises(UsageError, match=f"{option} .*no IPv4 address of this machine") as caught:
            Ports.beginning_at(free_port()).check_free(host=hosts[0], grpc_host=hosts[1])
        assert "--port" not in str(caught.value)


def test_paths_are_written_as_java_reads_them():
    config = ServerConfig(Path("/b\u00fccher \u65e5/a\\b"), {"a": "a.mar"}, Ports.beginning_at(9000))
    lines = config.properties(Path("/b\u00fccher x")).splitlines()
    assert "model_store=/b\\u00fccher \\u65e5/a\\\\b" in lines
    assert "metrics_config=/b\\u00fccher x/metrics.yaml" in lines
    (options,) = (line for line in lines if line.startswith("vmargs="))
    assert options.endswith(" -Dlog4j.configurationFile=file:///b%C3%BCcher%20x/log4j2.xml")


@pytest.mark.parametrize("name", ["b\udcfc", "b\U0001f4d6"])
def test_a_folder_that_java_cannot_open_is_refused(name):
    with pytest.raises(UsageError, match="Java cannot open it because of .* rename the folder"):
        ServerConfig(Path("store"), {"a": "a.mar"}, Ports.beginning_at(9000)).properties(Path("/") / name)


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_server_runs_in_a_folder_of_any_name_and_any_locale(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / "b\u00fccher x %"
    folder.mkdir()
    bundle = build_bundle(folder / "detector", "detector", formats=("onnx",), golden=True)
    server = start_server(folder, {"detector": bundle})
    try:
        answer = server.predict("detector", cv2.imencode(".png", two_squares())[1].tobytes())
        assert answer.status == 200 and len(answer.value["results"][0]["detections"]) == 2
        assert server.ask("/metrics", method="GET", offset=3).status == 200
        logs = folder / "serving" / "server" / "logs"
        assert "/predictions/detector" in (logs / "access_log.log").read_text()
    finally:
        stop_server(server)
