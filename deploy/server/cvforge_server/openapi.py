"""What the server takes and says, as an OpenAPI 3.1 document that other programs read."""

from __future__ import annotations

from typing import Any

from cvforge_server.errors import STATUS, Code
from cvforge_server.kserve import BINARY_OUTPUT, BYTES, ERROR, MOST_DIMENSIONS, RESULTS
from cvforge_server.options import FALSE, MASK_FORMS, MOST_TOP, OPTIONS_HEADER, TRUE
from cvforge_server.request_log import REQUEST_ID, REQUEST_ID_HEADER

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
FIELD_NAME = "^[A-Za-z0-9_.-]+$"
"""Of a form; TorchServe answers 500 to a field without a name."""
TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
USUAL_URL = "http://127.0.0.1:8080"
MEANINGS = {
    400: "No image (as of every GET: `empty`), a request that cannot be understood, a wrong option, or no valid token.",
    404: "There is no such model.",
    413: "More than the server takes on: too many images, bytes or pixels, or more than an answer has room for.",
    415: "Neither JPEG, PNG nor WebP.",
    422: "The image is damaged.",
    500: "The model failed at the image, a worker took too long, or a form cannot be read.",
    503: "More requests wait than the queue has room for, or a worker is being started.",
    507: "The worker died while it answered, or the server had no memory left for the body.",
}
"""Of every status that is not 200; 404, 503 and 507 are TorchServe's own."""


def openapi_document(*, model: str | None = None, url: str = USUAL_URL) -> dict[str, Any]:
    """The document; the same for every model, except for the name in the address.

    Args:
        model: name under which it is served; None leaves it a parameter.
        url: of the server.
    """
    name = model or "{model}"
    predict = _operation(
        "predict",
        "What the model says about one or more images",
        content=_request_content(),
        answer="Answer",
        model=model,
    )
    infer = _operation(
        "infer",
        "The same by the open inference protocol (KServe v2); its binary tensor extension is understood, too",
        content={"application/json": {"schema": _ref("InferRequest")}},
        answer="InferAnswer",
        model=model,
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "CVForge", "version": "1", "description": "Predictions of a bundle behind TorchServe."},
        "servers": [{"url": url}],
        "security": [{"token": []}],
        "paths": {f"/predictions/{name}": {"post": predict}, f"/v2/models/{name}/infer": {"post": infer}},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas()},
    }


def _operation(name: str, summary: str, *, content: dict[str, Any], answer: str, model: str | None) -> dict[str, Any]:
    refusals = {"anyOf": [_ref(kind) for kind in ("Answer", "Refusal", "InferRefusal", "Torchserve")]}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [_options_header(), _id_header(), *([] if model else [_model_parameter()])],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _response("Every image has a status of its own.", _ref(answer))}
        | {str(status): _response(text, refusals) for status, text in MEANINGS.items()},
    }


def _request_content() -> dict[str, Any]:
    content: dict[str, Any] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in IMAGE_TYPES}
    images: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
    images |= {"minProperties": 1, "propertyNames": {"pattern": FIELD_NAME}}
    content["multipart/form-data"] = {"schema": images}
    content["application/json"] = {"schema": _ref("JsonRequest")}
    return content


def _options_header() -> dict[str, Any]:
    return {
        "name": OPTIONS_HEADER,
        "in": "header",
        "required": False,
        "description": "Options of a bare image, written as in an address: score_threshold=0.5&classes=RBC",
        "schema": {"type": "string"},
    }


def _id_header() -> dict[str, Any]:
    return {
        "name": REQUEST_ID_HEADER,
        "in": "header",
        "required": False,
        "description": "A name for the request: `request_id` of the answer and of the lines about it in the log",
        "schema": {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"},
    }


def _model_parameter() -> dict[str, Any]:
    return {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}


def _response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _schemas() -> dict[str, Any]:
    return {
        **_infer_schemas(),
        "JsonRequest": _request_schema(),
        "Model": _object(
            ("name", "version", "task", "fingerprint"),
            name=TEXT,
            version=WHOLE,
            task=TEXT,
            fingerprint={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        ),
        "Error": _object(
            ("code", "message"), code={"type": "string", "enum": [code.value for code in Code]}, message=TEXT
        ),
        "Result": _result_schema(),
        "Answer": _object(
            ("request_id", "model", "results", "times_ms"),
            request_id=TEXT,
            model=_ref("Model"),
            results={"type": "array", "items": _ref("Result"), "minItems": 1},
            times_ms={"type": "object", "additionalProperties": NUMBER},
        ),
        "Refusal": _object(("request_id", "model", "error"), request_id=TEXT, model=_ref("Model"), error=_ref("Error")),
        "Torchserve": _object(("code", "type", "message"), code=WHOLE, type=TEXT, message=TEXT),
    }


def _request_schema() -> dict[str, Any]:
    image = _object(("data",), name=TEXT, data={"type": "string", "contentEncoding": "base64"})
    image["additionalProperties"] = False
    options = {"type": "object", "additionalProperties": False, "properties": _options()}
    request = _object(
        ("images",), images={"type": "array", "items": {"anyOf": [image, TEXT]}, "minItems": 1}, options=options
    )
    request["additionalProperties"] = False
    return request


def _result_schema() -> dict[str, Any]:
    """What is said about one image."""
    fraction = {"type": "number", "minimum": 0, "maximum": 1}
    mask = {"description": "In the form that was asked for with `masks`."}
    scored = {"label": TEXT, "class_id": WHOLE, "score": fraction}
    corners = {"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4}
    return _object(
        ("image", "status"),
        image=TEXT,
        status={"type": "integer", "enum": [200, *sorted(set(STATUS.values()))]},
        width=WHOLE,
        height=WHOLE,
        detections={"type": "array", "items": _object((*scored, "box_xyxy"), **scored, box_xyxy=corners)},
        classes={"type": "array", "items": _object(tuple(scored), **scored)},
        pixel_shares={"type": "object", "additionalProperties": fraction},
        masks={"type": "object", "additionalProperties": mask},
        class_map_png=TEXT,
        class_map_values={"type": "object", "additionalProperties": WHOLE},
        annotated_jpeg=TEXT,
        error=_ref("Error"),
    )


def _options() -> dict[str, Any]:
    switch = {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": [*TRUE, *FALSE]}]}
    return {
        "score_threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "classes": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "masks": {"type": "string", "enum": list(MASK_FORMS)},
        "top": {"type": "integer", "minimum": 1, "maximum": MOST_TOP},
        "annotated": switch,
    }


def _infer_schemas() -> dict[str, Any]:
    """Of the open inference protocol. Source: github.com/kserve/open-inference-protocol."""
    text, size = {"type": "string"}, {"type": "integer", "minimum": 0}
    images = {"type": "array", "items": {**text, "contentEncoding": "base64"}}
    shape = {"type": "array", "items": size, "minItems": 1, "maxItems": MOST_DIMENSIONS}
    tensor = _object(
        ("name", "shape", "datatype", "data"), name=text, shape=shape, datatype={"const": BYTES}, data=images
    )
    wanted = _object(("name",), name={"const": RESULTS})
    request = _object(
        ("inputs",),
        id=text,
        parameters={
            "type": "object",
            "additionalProperties": False,
            "properties": {**_options(), BINARY_OUTPUT: {"const": False}},
        },
        inputs={"type": "array", "items": tensor, "minItems": 1},
        outputs={"type": "array", "items": wanted, "maxItems": 1},
    )
    for closed in (tensor, wanted, request):
        closed["additionalProperties"] = False
    results = {
        "type": "array",
        "items": {**text, "contentMediaType": "application/json", "contentSchema": _ref("Result")},
    }
    output = _object(
        ("name", "shape", "datatype", "data"),
        name={"enum": [RESULTS, ERROR]},
        shape={**shape, "maxItems": 1},
        datatype={"const": BYTES},
        data=results,
    )
    told = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    answer = {"model_name": text, "model_version": text, "id": text, "parameters": told}
    answer["outputs"] = {"type": "array", "items": output, "minItems": 1, "maxItems": 1}
    return {
        "InferRequest": request,
        "InferAnswer": _object(tuple(answer), **answer),
        "InferRefusal": _object((*answer, "error"), **answer, error=text),
    }
