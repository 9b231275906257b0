"""The client by gRPC against a server that fails in every way; `test_protocols.py` has the real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import cvforge_server.client as client_module
from cvforge_server.client import ClientError
from cvforge_server.grpc_client import METHOD, GrpcClient, _message_classes

grpc = pytest.importorskip("grpc", reason="needs cvforge[grpc]")
MODEL = {"name": "m", "version": 1, "task": "detection", "fingerprint": "f"}
ROW = {"label": "a", "class_id": 0, "score": 0.5, "box_xyxy": [1, 2, 3, 4]}


def good(name: str) -> dict[str, Any]:
    return {"image": name, "status": 200, "width": 4, "height": 3, "detections": [ROW]}


def refused(name: str) -> dict[str, Any]:
    return {"image": name, "status": 422, "error": {"code": "damaged_image", "message": "torn"}}


class Script:
    """Answers calls one after the other as it was told, and notes them."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.calls: list[tuple[Any, dict[str, str]]] = []
        self.over = threading.Event()
        request_class, response_class = _message_classes()
        service, _, name = METHOD.strip("/").partition("/")
        handler = grpc.unary_unary_rpc_method_handler(
            self._answer,
            request_deserializer=request_class.FromString,
            response_serializer=response_class.SerializeToString,
        )
        self.server = grpc.server(ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def _answer(self, request: Any, context: Any) -> Any:
        self.calls.append((request, dict(context.invocation_metadata())))
        answer = self.answers.pop(0)
        if answer is None:
            self.over.wait(60)
        elif not isinstance(answer, dict):
            context.abort(answer, "why")
        return _message_classes()[1](prediction=json.dumps(answer).encode())


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(client_module, "FIRST_WAIT_S", 0.001)
    made = Script()
    yield made
    made.over.set()
    made.server.stop(None).wait()


@pytest.fixture
def client(script: Script) -> Iterator[GrpcClient]:
    with GrpcClient(f"127.0.0.1:{script.port}", model="det", token="secret") as made:
        yield made


def answered(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"request_id": "r", "model": MODEL, "results": list(entries)}


def test_an_image_becomes_a_typed_result(script, client):
    script.answers = [answered(good("image0"))]
    result = client.predict(b"picture", score_threshold=0.25, classes=["a", "b"], annotated=True)
    assert result.detections[0].box_xyxy == (1, 2, 3, 4) and result.model == MODEL and result.image == "0"
    ((request, metadata),) = script.calls
    assert request.model_name == "det" and metadata["authorization"] == "Bearer secret"
    asked = {"score_threshold": b"0.25", "classes": b"a,b", "annotated": b"true"}
    assert dict(request.input) == {"image0": b"picture", **asked}


def test_results_come_in_the_order_of_the_images_by_their_names(script, client, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    script.answers = [answered(refused("image1"), {**good("image2"), "width": 9}, good("image0"))]
    first, second, third = client.predict_many([tmp_path / "a.jpg", b"b", b"c"])
    assert (first.image, first.width, third.image, third.width) == (str(tmp_path / "a.jpg"), 4, "2", 9)
    assert isinstance(second, ClientError) and (second.status, second.code) == (422, "damaged_image")
    script.answers = [answered(refused("image0"))]
    with pytest.raises(ClientError, match="0: torn"):
        client.predict(b"b")


def test_a_refused_request_raises_with_its_code(script, client):
    script.answers = [{"request_id": "r", "model": MODEL, "error": {"code": "bad_option", "message": "no"}}]
    with pytest.raises(ClientError, match="^no$") as caught:
        client.predict_many([b"a"])
    assert (caught.value.code, caught.value.status) == ("bad_option", 0)


def test_what_passes_is_tried_again(script, client):
    script.answers = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, answered(good("image0"))]
    assert len(client.predict(b"a").detections) == 1 and len(script.calls) == 3


def test_a_full_queue_is_waited_for_and_an_error_within_the_server_is_not(script, client, monkeypatch):
    script.answers = [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
    with pytest.raises(ClientError, match="INTERNAL: why"):
        client.predict(b"a")
    assert script.answers == []
    monkeypatch.setattr("cvforge_server.grpc_client.NO_ROOM", "why")
    script.answers = [grpc.StatusCode.INTERNAL] * 4 + [answered(good("image0"))]
    assert client.predict(bytearray(b"a")).width == 4 and script.answers == []


@pytest.mark.parametrize("answer", [{}, {"results": []}, {"results": [1]}, {"error": "no"}, {"results": [good("b")]}])
def test_an_answer_of_another_kind_is_an_error(script, client, answer):
    script.answers = [answer]
    with pytest.raises(ClientError):
        client.predict(b"a")


@pytest.mark.parametrize(
    ("name", "tries"), [("UNAVAILABLE", 5), ("INTERNAL", 2), ("PERMISSION_DENIED", 1), ("RESOURCE_EXHAUSTED", 1)]
)
def test_what_does_not_pass_is_told_by_its_name(script, client, name, tries):
    script.answers = [grpc.StatusCode[name]] * tries
    with pytest.raises(ClientError, match=f"{name}: why") as caught:
        client.predict(b"a")
    assert caught.value.code == name and script.answers == []


def test_a_server_that_does_not_answer_in_time_is_not_waited_for(script):
    script.answers = [None]
    with GrpcClient(f"127.0.0.1:{script.port}", model="det", timeout_s=0.5) as client:
        with pytest.raises(ClientError) as caught:
            client.predict(b"a")
        assert caught.value.code == "DEADLINE_EXCEEDED"
    assert "authorization" not in script.calls[0][1]
