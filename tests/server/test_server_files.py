"""What TorchServe is told in its configuration."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from cvforge_server.errors import ServerError
from cvforge_server.images import LARGEST_ANSWER_MB
from cvforge_server.torchserve.server_files import Ports, ServerConfig
from server.real_server import free_port


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


def test_torchserves_half_of_the_open_inference_protocol_is_there_only_where_it_is_asked_for():
    assert properties()["ts_open_inference_protocol"] == "false"
    assert properties(open_inference=True)["ts_open_inference_protocol"] == "true"


def test_the_heap_is_as_large_as_it_is_said_to_be():
    assert properties(heap_mb=2000)["vmargs"].startswith("-Xmx2000m ")


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
