"""The OpenAPI document is one, and the real server keeps to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import hypothesis
import pytest

from cvforge_server.openapi import openapi_document
from edge.conftest import two_squares
from server.asking import CoreMaker
from server.inferring import BAD, infer, tensor
from server.real_server import MISSING, RealServer, serve
from serving_faults import NOT_A_FORM

PNG = cv2.imencode(".png", two_squares())[1].tobytes()
NEEDED = "needs Python 3.11"
schemathesis = pytest.importorskip("schemathesis", reason=NEEDED)
validate = pytest.importorskip("openapi_spec_validator", reason=NEEDED).validate
jsonschema = pytest.importorskip("jsonschema", reason=NEEDED)
checks = pytest.importorskip("schemathesis.specs.openapi.checks", reason=NEEDED)
OURS = (checks.response_schema_conformance, checks.status_code_conformance, checks.content_type_conformance)


@pytest.mark.parametrize("model", [None, "detector"])
def test_the_document_is_an_openapi_document(model):
    validate(openapi_document(model=model))


def test_the_command_prints_it(tmp_path):
    told = serve("openapi", "--model", "det_bccd", cwd=tmp_path)
    assert told.returncode == 0 and json.loads(told.stdout) == openapi_document(model="det_bccd")


def test_the_document_names_the_server_that_is_asked_for(tmp_path):
    def url(*options: object) -> str:
        told = serve("openapi", *options, cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        ((server,),) = (json.loads(told.stdout)["servers"],)
        return str(server["url"])

    ports = dict(zip(("inference", "grpc", "management", "metrics", "grpc_management"), range(9000, 9005), strict=True))
    state = {"pid": 1, "started": 0, "temporary": "t", "host": "10.0.0.1", "ports": ports, "models": [], "log_bytes": 0}
    (tmp_path / "server.json").write_text(json.dumps(state))
    assert url() == "http://127.0.0.1:8080"
    assert url("--port", 9100, "--host", "models.example.com") == "http://models.example.com:9100"
    assert url("--server", tmp_path) == "http://10.0.0.1:9000"
    none = serve("openapi", "--server", tmp_path / "none", cwd=tmp_path)
    assert none.returncode == 14 and "no server was started there" in none.stderr
    both = serve("openapi", "--server", tmp_path, "--port", 9100, cwd=tmp_path)
    assert both.returncode == 2 and "the folder knows its address" in both.stderr


@pytest.mark.parametrize("model", ["detector", "classifier", "segmenter"])
def test_answers_by_the_open_inference_protocol_are_as_the_document_says(model: str, open_core: CoreMaker) -> None:
    components = {"components": openapi_document()["components"]}

    def check(value: Any, name: str) -> None:
        jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **components}).validate(value)

    asked = {"id": "7", "inputs": [tensor(PNG, BAD)], "parameters": {"annotated": True}}
    check(asked, "InferRequest")
    answer = infer(open_core(model), asked).value
    check(answer, "InferAnswer")
    for text in answer["outputs"][0]["data"]:
        check(json.loads(text), "Result")
    for wrong in ({"inputs": [tensor(BAD)]}, {"inputs": []}, {**asked, "parameters": {"nothing": 1}}):
        refused = infer(open_core(model), wrong)
        assert refused.status in (400, 422)
        check(refused.value, "InferRefusal")


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_server_keeps_to_it_whatever_is_sent(server: RealServer):
    schema = schemathesis.openapi.from_dict(openapi_document(model="detector"))
    worker = server.workers("detector")[0]["pid"]
    seen: dict[int, int] = {}

    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=300, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), database=None
        )
        def ask(case: Any) -> None:
            url, token = f"http://127.0.0.1:{server.port}", server.token()
            response = case.call(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
            seen[response.status_code] = seen.get(response.status_code, 0) + 1
            unreadable = any(kind in response.content for kind in NOT_A_FORM)  # documented: TorchServe's own 500
            case.validate_response(
                response, checks=[*OURS] if unreadable else [schemathesis.checks.not_a_server_error, *OURS]
            )

        ask()
    assert sum(seen.values()) >= 600 and seen.keys() - {200, 400, 413, 415, 422, 500} == set(), seen
    assert server.workers("detector")[0]["pid"] == worker
    assert server.predict("detector", PNG).status == 200
    assert Path(server.folder).is_dir()
