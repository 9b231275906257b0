"""The client against a server that fails in every way; `test_torchserve.py` has the real one."""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import cvforge_server.client as client_module
from cvforge_server.client import Client, ClientError

MODEL = {"name": "m", "version": 1, "task": "detection", "fingerprint": "f"}
ROW = {"label": "a", "class_id": 0, "score": 0.5, "box_xyxy": [1, 2, 3, 4]}
GOOD = {
    "request_id": "r",
    "model": MODEL,
    "results": [{"image": "body", "status": 200, "width": 4, "height": 3, "detections": [ROW]}],
}
REFUSED = {
    "request_id": "r",
    "model": MODEL,
    "results": [{"image": "x", "status": 422, "error": {"code": "c", "message": "m"}}],
}


class Script(ThreadingHTTPServer):
    """Answers requests one after the other as it was told, and notes them."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes] | None] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                script.requests.append((self.path, dict(self.headers.items()), body))
                answer = script.answers.pop(0)
                if answer is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            def log_message(self, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *arguments: object) -> None:
        """A connection that we have closed."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(client_module, "FIRST_WAIT_S", 0.001)
    script = Script()
    thread = threading.Thread(target=script.serve_forever, daemon=True)
    thread.start()
    yield script
    script.shutdown()
    thread.join()
    script.server_close()


@pytest.fixture
def client(server: Script) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server.server_port}/base/", model="a b", token="secret", timeout_s=10) as made:
        yield made


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def test_an_image_becomes_a_typed_result(server, client):
    server.answers = [(200, text(GOOD))]
    result = client.predict(b"image", score_threshold=0.25, classes=["a", "b"], annotated=True)
    assert result.detections[0].box_xyxy == (1, 2, 3, 4) and result.detections[0].label == "a"
    assert (result.width, result.height, result.model, result.request_id) == (4, 3, MODEL, "r")
    ((path, headers, body),) = server.requests
    assert path == "/base/predictions/a%20b" and body == b"image" and headers["Authorization"] == "Bearer secret"
    assert headers["X-CVForge-Options"] == "score_threshold=0.25&classes=a%2Cb&annotated=true"


def test_what_passes_is_tried_again(server, client):
    server.answers = [None, (503, b"busy"), (507, b"{}"), (200, text(GOOD))]
    assert len(client.predict(b"image").detections) == 1
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [500, 507])
def test_a_request_that_a_worker_may_have_died_of_is_sent_once_more_and_not_again(server, client, status):
    died = (status, text({"code": status, "type": "InternalServerException", "message": "Worker died."}))
    server.answers = [died, died]
    with pytest.raises(ClientError, match=f"status {status}: Worker died"):
        client.predict(b"image")
    server.answers = [died, (503, b"starting"), (503, b"starting"), died]
    with pytest.raises(ClientError, match="Worker died"):
        client.predict_many([b"image"])
    server.answers = [died, (503, b"starting"), (200, text(GOOD))]
    assert client.predict(b"image").width == 4
    assert len(server.requests) == 9 and server.answers == []


def test_a_worker_is_given_time_to_start(monkeypatch):
    waits = []
    monkeypatch.setattr(client_module.time, "sleep", waits.append)
    tries = client_module.Tries(4)
    assert [tries.again(fatal=fatal) for fatal in (True, False, False, False, False)] == [True] * 4 + [False]
    assert 0.8 <= waits[0] <= 1.6 and 0.2 <= waits[1] <= 0.4 and 0.8 <= waits[3] <= 1.6
    assert client_module.Tries(0).again(fatal=False) is False and len(waits) == 4


@pytest.mark.parametrize("status", [200, 401, 403, 418])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": "unauthorized"}', "unauthorized"),
        (b'{"error": null}', '{"error": null}'),
        (b'{"error": {}}', '{"error": {}}'),
        (b'{"error": ["a"]}', r"\['a'\]"),
        (b'{"error": {"message": null, "code": 7}}', '"code": 7'),
        (b'{"message": "no entry"}', "no entry"),
        (b'"denied"', "denied"),
        (b"null", "null"),
        (b"[1, 2]", r"\[1, 2\]"),
        (b"17", "17"),
        (b"", "found '', expected JSON"),
        (b"<html>login</html>", "login"),
        (b"\xff\xfe", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"results": []}', "found 0 results, expected 1"),
        (b'{"results": [1]}', "cannot be read"),
        (b'{"results": [{}]}', "cannot be read"),
        (b'{"results": [{"status": 422, "image": "a", "error": null}]}', "cannot be read"),
    ],
)
def test_whatever_a_proxy_says_becomes_an_error_with_its_status(server, client, status, body, told):
    for ask in (lambda: client.predict(b"image"), lambda: client.predict_many([b"image"])):
        server.answers = [(status, body)]
        with pytest.raises(ClientError, match=told) as caught:
            ask()
        assert caught.value.status == status and f"status {status}: " in str(caught.value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_images_may_be_bytes_of_any_kind(server, client, kind):
    server.answers = [(200, text(GOOD))] * 2
    client.predict(kind(b"image"))
    client.predict_many([kind(b"image")])
    assert server.requests[0][2] == b"image"
    assert json.loads(server.requests[1][2])["images"] == [{"name": "0", "data": "aW1hZ2U="}]
    with pytest.raises(TypeError):
        client.predict(7)


def test_what_does_not_pass_ends_after_the_last_try(server, client):
    server.answers = [(503, text({"code": 503, "type": "T", "message": "full"}))] * 5
    with pytest.raises(ClientError, match="status 503: full") as caught:
        client.predict(b"image")
    assert caught.value.status == 503 and server.answers == []


@pytest.mark.parametrize("status", [400, 413, 415, 422, 404])
def test_the_clients_own_mistakes_are_not_tried_again(server, client, status):
    server.answers = [(status, text({"error": {"code": "c", "message": "why"}}))]
    with pytest.raises(ClientError, match="why") as caught:
        client.predict(b"image")
    assert (caught.value.status, caught.value.code) == (status, "c")


def test_a_refused_image_raises_alone_and_stands_as_an_error_among_others(server, client, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    both = {**GOOD, "results": [*GOOD["results"], *REFUSED["results"]]}
    server.answers = [(422, text(REFUSED)), (200, text(both))]
    with pytest.raises(ClientError, match="x: m") as caught:
        client.predict(tmp_path / "a.jpg")
    assert (caught.value.status, caught.value.code) == (422, "c")
    good, bad = client.predict_many([tmp_path / "a.jpg", b"b"], top=3)
    assert good.width == 4 and isinstance(bad, ClientError) and bad.status == 422
    sent = json.loads(server.requests[-1][2])
    assert sent["options"] == {"top": 3} and [entry["name"] for entry in sent["images"]] == [
        str(tmp_path / "a.jpg"),
        "1",
    ]


def test_an_answer_that_is_no_json_and_a_server_that_is_gone_are_told(server, client):
    server.answers = [(200, b"<html>")]
    with pytest.raises(ClientError, match="expected JSON"):
        client.predict(b"image")
    port = server.server_port
    server.answers = [None] * 5
    with pytest.raises(ClientError, match="no answer"):
        client.predict(b"image")
    assert port


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="accepted http://HOST:PORT"):
        Client("ftp://host", model="m")


def test_it_needs_the_standard_library_alone():
    tree = ast.parse(Path(client_module.__file__).read_text())
    roots = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    roots |= {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert roots <= set(sys.stdlib_module_names)
