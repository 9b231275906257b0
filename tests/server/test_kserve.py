"""Requests of the open inference protocol are answered in its form, whatever is wrong with them."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from cvforge_edge.strict_json import parse_strict
from cvforge_server.request import Part
from server.asking import BLUE, RED, SQUARES, CoreMaker, ask
from server.inferring import BAD, JSON, infer, packed, refusal, rows, tensor


def test_each_image_is_answered_as_in_our_own_form_and_a_bad_one_fails_alone(open_core: CoreMaker) -> None:
    core = open_core("detector")
    reply = infer(core, {"id": "seven", "inputs": [tensor(RED, BAD, SQUARES)]})
    ours = ask(core, RED, BAD, SQUARES).value["results"]
    assert reply.status == 200 and "error" not in reply.value
    assert [row.pop("image") for row in rows(reply)] == ["image[0]", "image[1]", "image[2]"]
    assert [{**row, "image": ""} for row in rows(reply)] == [{**row, "image": ""} for row in ours]
    assert [row["status"] for row in rows(reply)] == [200, 422, 200]
    assert reply.objects == sum(len(row.get("detections", ())) for row in rows(reply)) > 0


def test_the_answer_says_which_model_gave_it_how_long_it_took_and_whose_it_is(open_core: CoreMaker) -> None:
    core = open_core("classifier")
    value = infer(core, {"id": "seven", "inputs": [tensor(RED)]}).value
    assert (value["id"], value["model_name"], value["model_version"]) == ("seven", "tiny-classifier", "1")
    told = value["parameters"]
    assert (told["request_id"], told["task"]) == ("r", "classification")
    assert told["fingerprint"] == core.model["fingerprint"]
    assert all(told[name] > 0 for name in ("decode_ms", "network_ms", "finish_ms"))
    assert infer(core, {"inputs": [tensor(RED)]}).value["id"] == "r"


def test_options_are_parameters_with_the_same_checks(open_core: CoreMaker) -> None:
    core = open_core("detector")
    asked = {"inputs": [tensor(SQUARES)], "parameters": {"classes": ["blue"], "score_threshold": 0.1}}
    assert [row["label"] for row in rows(infer(core, asked))[0]["detections"]] == ["blue"]
    text = {"inputs": [tensor(SQUARES)], "parameters": {"classes": "red", "annotated": "true"}}
    (row,) = rows(infer(core, text))
    assert [found["label"] for found in row["detections"]] == ["red"] and "annotated_jpeg" in row
    reply = infer(core, {"id": "x", "inputs": [tensor(SQUARES)], "parameters": {"score_treshold": 0.1}})
    assert reply.status == 400 and reply.value["id"] == "x"
    assert refusal(reply)["code"] == "unknown_option"


def test_several_tensors_are_images_in_their_order_by_their_names(open_core: CoreMaker) -> None:
    inputs = [tensor(RED, name="left"), tensor(BLUE, SQUARES, name="right", shape=[2, 1]), tensor(name="none")]
    inputs[1]["data"] = [[text] for text in inputs[1]["data"]]
    found = rows(infer(open_core("detector"), {"inputs": inputs}))
    assert [(row["image"], row["status"]) for row in found] == [("left", 200), ("right[0]", 200), ("right[1]", 200)]
    assert [len(row["detections"]) for row in found][2] == 2


def test_images_behind_the_json_need_no_base64(open_core: CoreMaker) -> None:
    core = open_core("detector")
    tail = packed(RED, BAD) + packed(SQUARES)
    sizes = [len(packed(RED, BAD)), len(packed(SQUARES))]
    inputs = [
        {"name": name, "shape": [count], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
        for name, count, size in zip("ab", (2, 1), sizes, strict=True)
    ]
    mixed = [inputs[0], tensor(SQUARES, name="json"), inputs[1]]
    found = rows(infer(core, {"inputs": mixed}, tail))
    assert [row["image"] for row in found] == ["a[0]", "a[1]", "json", "b"]
    assert [row["status"] for row in found] == [200, 422, 200, 200]
    assert found[2]["detections"] == found[3]["detections"] != []


@pytest.mark.parametrize(
    "asked",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "results", "parameters": {"binary_data": True}}]},
    ],
)
def test_results_go_behind_the_json_where_that_is_asked_for(asked: dict[str, Any], open_core: CoreMaker) -> None:
    core = open_core("detector")
    reply = infer(core, {"inputs": [tensor(RED, BAD)], **asked})
    length = int(reply.headers["Inference-Header-Content-Length"])
    head, tail = parse_strict(reply.body[:length].decode()), reply.body[length:]
    (output,) = head["outputs"]
    assert reply.content_type == "application/octet-stream"
    assert "data" not in output and output["parameters"] == {"binary_data_size": len(tail)} and output["shape"] == [2]
    texts = [text.encode() for text in infer(core, {"inputs": [tensor(RED, BAD)]}).value["outputs"][0]["data"]]
    assert tail == packed(*texts)
    failed = infer(core, {"inputs": [tensor(BAD)], **asked})
    assert failed.status == 422 and failed.content_type == JSON
    assert failed.value["error"].startswith("damaged_image: ") and rows(failed)[0]["status"] == 422


def test_where_no_image_can_be_answered_the_gravest_problem_is_the_error(open_core: CoreMaker) -> None:
    reply = infer(open_core("detector"), {"inputs": [tensor(b"", BAD, b"hello")]})
    assert (reply.status, reply.value["error"][:14]) == (422, "damaged_image:")
    assert [row["status"] for row in rows(reply)] == [400, 422, 415]
    assert (
        rows(infer(open_core("detector"), {"inputs": [tensor(RED, data=["%%%"])]}))[0]["error"]["code"] == "malformed"
    )


def test_names_that_utf8_has_no_bytes_for_come_back(open_core: CoreMaker) -> None:
    core, name = open_core("detector"), 'größe \ud800 "\\'
    for asked in ({}, {"binary_data_output": True}):
        reply = infer(core, {"id": name, "inputs": [tensor(RED, name=name)], "parameters": asked})
        end = len(reply.body) - len(reply.tail)
        value = parse_strict(reply.body[:end].decode())
        text = value["outputs"][0]["data"][0] if not asked else reply.tail[4:].decode()
        assert value["id"] == name and parse_strict(text)["image"] == name


def test_requests_of_both_forms_are_answered_each_in_its_own(open_core: CoreMaker) -> None:
    theirs = json.dumps({"inputs": [tensor(SQUARES)]}).encode()
    requests = [[Part("body", theirs, JSON)], [Part("body", SQUARES)], [Part("body", b'{"inputs": 1}', JSON)]]
    replies = open_core("detector").answer(requests, ids=["a", "b", "c"])
    assert rows(replies[0])[0]["detections"] == replies[1].value["results"][0]["detections"]
    assert refusal(replies[2])["code"] == "malformed"


@pytest.mark.parametrize("binary", [True, False])
def test_the_client_of_triton_is_understood_and_understands(binary: bool, open_core: CoreMaker) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    sent = triton.InferInput("image", [2], "BYTES")
    images = [SQUARES, BAD] if binary else [base64.b64encode(image) for image in (SQUARES, BAD)]
    sent.set_data_from_numpy(np.array(images, dtype=object), binary_data=binary)
    outputs = None if binary else [triton.InferRequestedOutput("results", binary_data=False)]
    body, length = triton.InferenceServerClient.generate_request_body(
        [sent], outputs=outputs, request_id="seven", parameters={"score_threshold": 0.5, "classes": "blue"}
    )
    part = Part("body", body, "" if length else JSON, str(length or ""))
    (reply,) = open_core("detector").answer([[part]], ids=["r"])
    told = reply.headers.get("Inference-Header-Content-Length")
    result = triton.InferenceServerClient.parse_response_body(reply.body, header_length=told and int(told))
    assert (told is not None) == binary
    texts = result.as_numpy("results")
    good, bad = (json.loads(text) for text in texts)
    assert [row["label"] for row in good["detections"]] == ["blue"] and bad["error"]["code"] == "damaged_image"
    assert result.get_response()["id"] == "seven"
