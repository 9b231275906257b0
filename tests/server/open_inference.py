"""TorchServe's `GRPCInferenceService` as tests ask it: messages made of the names and numbers that go over the wire."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

PACKAGE = "org.pytorch.serve.grpc.openinference"
MESSAGES: dict[str, Mapping[str, tuple[int, str, bool]]] = {
    "Contents": {
        "int_contents": (2, "INT32", True),
        "fp32_contents": (6, "FLOAT", True),
        "bytes_contents": (8, "BYTES", True),
    },
    "Tensor": {
        "name": (1, "STRING", False),
        "datatype": (2, "STRING", False),
        "shape": (3, "INT64", True),
        "contents": (5, "Contents", False),
    },
    "ModelInferRequest": {
        "model_name": (1, "STRING", False),
        "id": (3, "STRING", False),
        "inputs": (5, "Tensor", True),
        "raw_input_contents": (7, "BYTES", True),
    },
    "ModelInferResponse": {
        "model_name": (1, "STRING", False),
        "model_version": (2, "STRING", False),
        "id": (3, "STRING", False),
        "outputs": (5, "Tensor", True),
    },
    "ModelReadyRequest": {"name": (1, "STRING", False)},
    "ModelReadyResponse": {"ready": (1, "BOOL", False)},
}
"""Fields by message: number, type, and whether they are repeated. Source: github.com/kserve/open-inference-protocol."""


@functools.cache
def message_classes() -> dict[str, Any]:
    """By name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            named = {"type": kinds.TYPE_MESSAGE, "type_name": f".{PACKAGE}.{kind}"} if kind in MESSAGES else {}
            message.field.add(
                name=field, number=number, label=label, **(named or {"type": getattr(kinds, f"TYPE_{kind}")})
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


def ask_service(port: int, method: str, request: Any, *, token: str) -> Any:
    """The response to one call."""
    import grpc

    classes = message_classes()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(
            f"/{PACKAGE}.GRPCInferenceService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=classes[f"{method}Response"].FromString,
        )
        return call(request, timeout=60, metadata=(("authorization", f"Bearer {token}"),))


def rows(response: Any) -> tuple[str, list[Any]]:
    """Name of the tensor of an answer, and what each element says: TorchServe puts each text into quotes once more."""
    (output,) = response.outputs
    assert list(output.shape) == [len(output.contents.bytes_contents)] and output.datatype == "BYTES"
    return output.name, [json.loads(json.loads(element)) for element in output.contents.bytes_contents]
