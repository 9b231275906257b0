"""Requests that are not quite of the open inference protocol are refused, and always in its form."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvforge_edge.strict_json import parse_strict
from cvforge_server import core as core_module
from cvforge_server.core import Core
from cvforge_server.request import Part
from server.asking import RED, CoreMaker
from server.inferring import JSON, infer, packed, refusal, tensor

WRONG: list[tuple[Any, bytes, str]] = [
    ({"inputs": []}, b"", "the request has no image"),
    ({"inputs": {}}, b"", "inputs: found {}, accepted a list of tensors"),
    ({"inputs": [3]}, b"", "inputs[0]: found 3, accepted an object with name, shape"),
    ({"inputs": [{}]}, b"", "inputs[0]: found {}, accepted"),
    ({"inputs": [tensor(RED, extra=1)]}, b"", "inputs[0]: found {'name'"),
    ({"inputs": [tensor(RED, datatype="UINT8")]}, b"", "inputs[0].datatype: found 'UINT8', accepted BYTES"),
    ({"inputs": [tensor(RED, shape=[])]}, b"", "inputs[0].shape: found [], accepted a list of 1 to 8 sizes"),
    ({"inputs": [tensor(RED, shape=[1] * 9)]}, b"", "inputs[0].shape: found [1, 1"),
    ({"inputs": [tensor(RED, shape=[True])]}, b"", "inputs[0].shape: found [True]"),
    ({"inputs": [tensor(RED, shape=[-1, -1])]}, b"", "inputs[0].shape: found [-1, -1]"),
    ({"inputs": [tensor(RED, shape=[10**300] * 8)]}, b"", "inputs[0].shape: found [1000"),
    ({"inputs": [tensor(RED, shape=[2])]}, b"", "inputs[0]: found 1 elements, accepted 2 as its shape says"),
    ({"inputs": [tensor(RED, data="abc")]}, b"", "inputs[0].data: found 'abc', accepted a list of base64 texts"),
    ({"inputs": [tensor(RED, data=[[1]])]}, b"", "inputs[0].data: found 1, accepted a list of base64 texts"),
    ({"inputs": [tensor(RED, parameters=[])]}, b"", "inputs[0].parameters: found [], accepted binary_data_size"),
    ({"inputs": [tensor(RED, parameters={"binary_data_size": 4})]}, b"", "inputs[0]: found ['name', 'shape'"),
    ({"inputs": [tensor(RED)], "outputs": {}}, b"", "outputs: found {}, accepted a list of one output, results"),
    ({"inputs": [tensor(RED)], "outputs": [{"name": "boxes"}]}, b"", "outputs[0]: found {'name': 'boxes'}"),
    (
        {"inputs": [tensor(RED)], "outputs": [{"name": "results", "parameters": {"classification": 3}}]},
        b"",
        "outputs[0].parameters: found {'classification': 3}, accepted binary_data",
    ),
    ({"inputs": [tensor(RED)], "id": 3}, b"", "id: found 3, accepted text"),
    ({"inputs": [tensor(RED)], "parameters": [1]}, b"", "parameters: found [1], accepted options"),
    ({"inputs": [tensor(RED)], "parameters": {"binary_data_output": 1}}, b"", "parameters: found {'binary_data_o"),
    ({"inputs": [tensor(RED)], "more": 1, "less": 2}, b"", "keys: found ['more', 'less'], accepted id, parameters"),
    ({"inputs": [tensor(RED)]}, b"tail", "inputs: 4 bytes behind the JSON belong to no tensor"),
    ({"images": [base64.b64encode(RED).decode()]}, b"tail", "JSON: found an object with 'images'"),
    ([], b"tail", "JSON: found a list"),
]
BINARY = {"name": "image", "shape": [1], "datatype": "BYTES"}
WRONG_BINARY: list[tuple[dict[str, Any], bytes, str]] = [
    (
        {"binary_data_size": 8},
        b"\0\0\0\0",
        "inputs[0].parameters.binary_data_size: found 8, accepted a number of bytes",
    ),
    ({"binary_data_size": -1}, b"\0\0\0\0", "inputs[0].parameters.binary_data_size: found -1, accepted"),
    ({"binary_data_size": True}, b"\0\0\0\0", "inputs[0].parameters.binary_data_size: found True, accepted"),
    ({"binary_data_size": 3}, b"\0\0\0", "inputs[0]: its bytes end within element 0"),
    ({"binary_data_size": 6}, b"\5\0\0\0ab", "inputs[0]: its bytes end within element 0"),
    ({"binary_data_size": 8}, bytes(8), "inputs[0]: found more than 1 elements, accepted 1 as its shape says"),
    ({"binary_data_size": 0}, bytes(8), "inputs[0]: found 0 elements, accepted 1 as its shape says"),
    ({"binary_data_size": 4}, bytes(8), "inputs: 4 bytes behind the JSON belong to no tensor"),
]
WRONG += [({"inputs": [{**BINARY, "parameters": given}]}, tail, words) for given, tail, words in WRONG_BINARY]


@pytest.mark.parametrize(("value", "tail", "words"), WRONG)
def test_another_form_is_refused_in_the_form_of_the_protocol(
    value: Any, tail: bytes, words: str, open_core: CoreMaker
) -> None:
    reply = infer(open_core("detector"), value, tail)
    error = refusal(reply)
    assert (reply.status, error["code"]) == (400, "empty" if "no image" in words else "malformed")
    assert error["message"].startswith(words)


@pytest.mark.parametrize("length", ["x", "-1", "1e3", "9" * 5000, "99999999", "0", "5"])
def test_a_wrong_length_of_the_json_is_refused(length: str, open_core: CoreMaker) -> None:
    body = json.dumps({"inputs": [tensor(RED)]}).encode()
    (reply,) = open_core("detector").answer([[Part("body", body, JSON, length)]], ids=["r"])
    assert reply.status == 400 and refusal(reply)["code"] == "malformed"


def test_too_many_images_are_refused_before_they_are_looked_at(open_core: CoreMaker) -> None:
    core = open_core("detector")
    for shape in ([17], [10**9, 10**9], [16]):
        value = {"inputs": [tensor(RED), tensor(RED, shape=shape, data=[""] * 16)]}
        reply = infer(core, value)
        assert reply.status == 413 and refusal(reply)["code"] == "too_many_images"


def test_what_nobody_thought_of_is_refused_in_the_form_too(
    open_core: CoreMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(core_module, "read_request", fail)
    reply = infer(open_core("detector"), {"inputs": [tensor(RED)]}, header=True)
    assert reply.status == 500 and refusal(reply)["code"] == "inference_failed"


PIECES = st.sampled_from([b"", b"\0", packed(b""), packed(RED), packed(b"x" * 9), b"\xff" * 4, RED[:30]])
VALUES = st.none() | st.booleans() | st.integers(-2, 20) | st.sampled_from(["", "results", "BYTES", [], {}, [1], ["a"]])
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": VALUES | st.just("image"),
        "shape": VALUES | st.lists(VALUES, max_size=3) | st.just([1]),
        "datatype": VALUES | st.just("BYTES"),
        "data": VALUES | st.lists(VALUES, max_size=2),
        "parameters": VALUES | st.fixed_dictionaries({"binary_data_size": VALUES | st.just(len(packed(RED)))}),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": VALUES | st.lists(TENSORS | VALUES, max_size=3)},
    optional={
        "id": VALUES,
        "parameters": VALUES | st.dictionaries(st.sampled_from(["binary_data_output", "top", "classes"]), VALUES),
        "outputs": VALUES | st.lists(st.fixed_dictionaries({"name": VALUES, "parameters": VALUES}), max_size=2),
    },
)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from edge.conftest import build_bundle

    opened = Core.from_bundle(
        build_bundle(tmp_path_factory.mktemp("v2") / "b", "detector", formats=("onnx",), golden=False)
    )
    yield opened
    opened.close()


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(value=REQUESTS, tail=st.lists(PIECES, max_size=4).map(b"".join), cut=st.integers(0, 40) | st.just(0))
def test_torchserve_finds_in_every_answer_what_it_reads_without_asking(
    value: Mapping[str, Any], tail: bytes, cut: int, core: Core
) -> None:
    body = json.dumps(value).encode()
    (reply,) = core.answer([[Part("body", body + tail, "", str(max(0, len(body) - cut)))]], ids=["r"])
    assert reply.status in (200, 400, 413, 415, 422)
    head = parse_strict(reply.body[: len(reply.body) - len(reply.tail)].decode())
    assert all(isinstance(head[name], str) for name in ("id", "model_name", "model_version"))
    (output,) = head["outputs"]
    assert output["datatype"] == "BYTES" and all(isinstance(size, int) for size in output["shape"])
