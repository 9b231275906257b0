"""KServe's protocol and gRPC on the real TorchServe: what it hands on, what it has of its own, and that nothing ends a worker."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest

from cvforge_server.client import ClientError
from cvforge_server.grpc_client import GrpcClient
from edge.conftest import two_squares
from server.inferring import packed, tensor
from server.open_inference import ask_service, message_classes, rows
from server.real_server import MISSING, RealServer

pytestmark = [pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
PNG = cv2.imencode(".png", two_squares())[1].tobytes()
INFER = "/v2/models/detector/infer"
JSON = {"Content-Type": "application/json"}


def detections(server: RealServer) -> Any:
    """Of the picture, in our own form by HTTP."""
    return server.predict("detector", PNG).value["results"][0]["detections"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/detector", 404),
        ("/v2/models/detector/ready", 404),
        ("/v2/models/detector/versions/1/ready", 501),
    ],
)
def test_torchserve_has_these_addresses_of_the_protocol_and_not_those(server, path, status):
    assert server.ask(path, method="GET").status == status


def test_a_request_in_json_is_answered_in_the_form_of_the_protocol(server):
    asked = {"id": "seven", "inputs": [tensor(PNG, PNG[:200])], "parameters": {"score_threshold": 0.1}}
    answer = server.ask(INFER, json.dumps(asked).encode(), headers=JSON)
    assert answer.status == 200 and answer.content_type == "application/json" and answer.value["id"] == "seven"
    good, bad = (json.loads(text) for text in answer.value["outputs"][0]["data"])
    assert good["detections"] == detections(server) != []
    assert (bad["status"], bad["error"]["code"]) == (422, "damaged_image")
    refused = server.ask(INFER, json.dumps({**asked, "parameters": {"score": 1}}).encode(), headers=JSON)
    assert refused.status == 400 and refused.value["error"].startswith("unknown_option: option: found 'score'")


def test_images_may_follow_the_json_and_results_too(server):
    tail = packed(PNG)
    inputs = [{"name": "a", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    answer = server.ask(INFER, head + tail, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status == 200 and answer.content_type == "application/octet-stream"
    value, end = json.JSONDecoder().raw_decode(answer.body.decode("latin-1"))
    assert len(answer.body) == end + value["outputs"][0]["parameters"]["binary_data_size"]
    assert json.loads(answer.body[end + 4 :])["detections"] == detections(server)
    wrong = server.ask(INFER, head, headers={"Inference-Header-Content-Length": str(len(head) + 1)})
    assert wrong.status == 400 and "Inference-Header-Content-Length" in wrong.value["error"]


def test_the_client_of_triton_is_served(server):
    triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    headers = {"Authorization": f"Bearer {server.token()}"}
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live(headers=headers) and client.is_server_ready(headers=headers)
    for binary in (True, False):
        images = [PNG, PNG[:200]] if binary else [base64.b64encode(image) for image in (PNG, PNG[:200])]
        sent = triton.InferInput("image", [2], "BYTES")
        sent.set_data_from_numpy(np.array(images, dtype=object), binary_data=binary)
        typed = headers if binary else {**headers, **JSON}  # copied below: the client writes into what it is given
        result = client.infer(
            "detector", [sent], request_id="seven", headers={**typed}, parameters={"score_threshold": 0.1}
        )
        good, bad = (json.loads(text) for text in result.as_numpy("results"))
        assert good["detections"] == detections(server) and bad["error"]["code"] == "damaged_image"
        assert result.get_response()["id"] == "seven"
        with pytest.raises(triton.InferenceServerException, match="bad_option: score_threshold") as caught:
            client.infer("detector", [sent], headers={**typed}, parameters={"score_threshold": 7})
        assert "400" in str(caught.value.status())
    client.close()


def test_by_grpc_a_bad_image_fails_alone_and_a_refused_request_has_its_code(server):
    pytest.importorskip("grpc", reason="needs cvforge[grpc]")
    worker = server.workers("detector")[0]["pid"]
    with GrpcClient(f"127.0.0.1:{server.port + 1}", model="detector", token=server.token()) as client:
        good, torn, text, last = client.predict_many([PNG, PNG[:200], b"no image" * 500, PNG], score_threshold=0.1)
        found = [(row.label, row.score, list(row.box_xyxy)) for row in good.detections]
        assert found == [(row["label"], row["score"], row["box_xyxy"]) for row in detections(server)]
        assert (torn.status, torn.code, text.code, last.detections) == (
            422,
            "damaged_image",
            "not_an_image",
            good.detections,
        )
        assert [row.label for row in client.predict(PNG, classes=["blue"], annotated=True).detections] == ["blue"]
        for options, code in (({"score_threshold": 7}, "bad_option"), ({"scor": 0.5}, "unknown_option")):
            with pytest.raises(ClientError) as caught:
                client.predict(PNG, **options)
            assert caught.value.code == code
        with pytest.raises(ClientError) as caught:
            client.predict_many([PNG] * 17)
        assert caught.value.code == "too_many_images"
    for token in ("wrong", None):
        stranger = GrpcClient(f"127.0.0.1:{server.port + 1}", model="detector", token=token)
        with stranger, pytest.raises(ClientError, match="PERMISSION_DENIED: Token Authorization failed"):
            stranger.predict(PNG)
    nobody = GrpcClient(f"127.0.0.1:{server.port + 1}", model="nobody", token=server.token(), retries=0)
    with nobody, pytest.raises(ClientError, match="INTERNAL: Model not found: nobody"):
        nobody.predict(PNG)
    assert server.workers("detector")[0]["pid"] == worker


WRONG_TENSORS: list[tuple[dict[str, Any], str]] = [
    ({"name": "image", "datatype": "FP32", "shape": [2]}, "malformed"),
    ({"name": "image", "datatype": "nothing", "shape": [1]}, "malformed"),
    ({"name": "image", "datatype": "BYTES", "shape": [1]}, "malformed"),
    ({"name": "image", "datatype": "BYTES", "shape": [100]}, "too_many_images"),
    ({"name": "image", "datatype": "BYTES", "shape": [0]}, "empty"),
    ({"name": "image", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1.5] * 500_000}}, "too_large"),
]


def test_the_service_of_the_protocol_by_grpc_answers_whatever_it_is_asked(server):
    grpc = pytest.importorskip("grpc", reason="needs cvforge[grpc]")
    classes, worker, port, token = (
        message_classes(),
        server.workers("detector")[0]["pid"],
        server.port + 1,
        server.token(),
    )
    assert ask_service(port, "ModelReady", classes["ModelReadyRequest"](name="detector"), token=token).ready

    def infer(model: str = "detector", **fields: Any) -> Any:
        inputs = [classes["Tensor"](**fields)] if fields else []
        return ask_service(
            port, "ModelInfer", classes["ModelInferRequest"](model_name=model, id="7", inputs=inputs), token=token
        )

    response = infer(name="a", datatype="BYTES", shape=[2], contents={"bytes_contents": [PNG, PNG[:200]]})
    assert (response.id, response.model_name, response.model_version) == ("7", "tiny-detector", "1")
    name, (good, bad) = rows(response)
    assert name == "results" and good["detections"] == detections(server) and bad["error"]["code"] == "damaged_image"
    for fields, code in [({}, "empty"), *WRONG_TENSORS]:
        name, (error,) = rows(infer(**fields))
        assert (name, error["code"]) == ("error", code), fields
    name, (alone,) = rows(infer(name="a", datatype="BYTES", shape=[1], contents={"bytes_contents": [b"x"]}))
    assert (name, alone["status"]) == ("results", 415)
    with pytest.raises(grpc.RpcError, match="not found"):
        infer(model="nobody")
    with pytest.raises(grpc.RpcError) as caught:
        ask_service(port, "ModelInfer", classes["ModelInferRequest"](model_name="detector"), token="wrong")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert server.workers("detector")[0]["pid"] == worker
