"""The open inference protocol (KServe v2): its requests as images and options, and answers in its form.

An image is an element of a tensor of type BYTES, in base64 within the JSON or as it is behind the JSON. Source: Open Inference
Protocol, https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_server.errors import Code, RequestError
from cvforge_server.images import LONGEST_NAME, Limits, check_name
from cvforge_server.json_text import json_bytes, quoted, separated
from cvforge_server.options import shown

LENGTH_HEADER = "Inference-Header-Content-Length"
"""Says how many bytes at the beginning of a body are JSON; tensors follow them."""
REQUEST_KEYS = ("id", "parameters", "inputs", "outputs", "model_name")
"""The last is what TorchServe writes into requests that come by gRPC."""
TENSOR_KEYS = ("name", "shape", "datatype", "parameters", "data")
BINARY_OUTPUT, BINARY_DATA, BINARY_SIZE = "binary_data_output", "binary_data", "binary_data_size"
BYTES = "BYTES"
RESULTS, ERROR = "results", "error"
"""Names of the tensors that we answer with."""
MOST_DIMENSIONS, LARGEST_SIZE = 8, 2**31 - 1
LENGTH = struct.Struct("<I")
"""Stands before each element of a binary tensor of type BYTES."""


@dataclass(frozen=True)
class Envelope:
    """What the answer to a request of this protocol repeats, or is told to be like.

    Attributes:
        id: that the client gave; empty where it gave none.
        binary: whether results go behind the JSON, and not into it.
    """

    id: str = ""
    binary: bool = False


def envelope_of(value: Mapping[str, Any]) -> Envelope:
    """The envelope of a request that may be wrong in any other way."""
    request_id, parameters, outputs = value.get("id"), value.get("parameters"), value.get("outputs")
    binary = isinstance(parameters, dict) and parameters.get(BINARY_OUTPUT) is True
    if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict):
        asked = outputs[0].get("parameters")
        binary = asked.get(BINARY_DATA, binary) is True if isinstance(asked, dict) else binary
    repeated = isinstance(request_id, str) and len(request_id) <= LONGEST_NAME
    return Envelope(str(request_id) if repeated else "", binary)


def read_inputs(value: Mapping[str, Any], tail: bytes, *, limits: Limits) -> tuple[list[Any], dict[str, Any]]:
    """Images as JSON of our own form has them, except that those from behind the JSON are bytes; and options.

    Args:
        value: the JSON.
        tail: what stood behind it.
        limits: how many images are accepted.

    Raises:
        RequestError: another form than that of the protocol, tensors of another type, or too many images.
    """
    unknown = [key for key in value if key not in REQUEST_KEYS]
    if unknown:
        raise _malformed("keys", unknown, accepted=", ".join(REQUEST_KEYS))
    if not isinstance(value.get("id", ""), str):
        raise _malformed("id", value["id"], accepted="text")
    check_name(value.get("id", ""), key="id")
    _check_outputs(value.get("outputs", []))
    options = value.get("parameters", {})
    if not isinstance(options, dict) or not isinstance(options.get(BINARY_OUTPUT, False), bool):
        raise _malformed("parameters", options, accepted=f"options, and {BINARY_OUTPUT} as true or false")
    if not isinstance(value["inputs"], list):
        raise _malformed("inputs", value["inputs"], accepted="a list of tensors")
    entries: list[Any] = []
    for number, tensor in enumerate(value["inputs"]):
        found, tail = _read_tensor(tensor, tail, key=f"inputs[{number}]", limits=limits)
        entries += found
        limits.check_count(len(entries))
    if tail:
        raise RequestError(Code.MALFORMED, f"inputs: {len(tail)} bytes behind the JSON belong to no tensor")
    return entries, {name: given for name, given in options.items() if name != BINARY_OUTPUT}


def in_form(
    head: Mapping[str, Any], rows: Sequence[bytes] | None, *, problem: RequestError | None, envelope: Envelope
) -> tuple[bytes, bytes]:
    """An answer of ours as one of this protocol: its JSON, and what follows that.

    Args:
        head: `request_id`, `model`, and perhaps `times_ms`.
        rows: what is said about each image: JSON where the envelope is binary, otherwise JSON as a text within JSON; None where
            the request was refused.
        problem: why it was refused, or the gravest of the images where none could be answered; otherwise None.
        envelope: of the request.
    """
    model = head["model"]
    parameters = {"request_id": head["request_id"], "task": model["task"], "fingerprint": model["fingerprint"]}
    parameters |= {f"{stage}_ms": ms for stage, ms in head.get("times_ms", {}).items()}
    value = {
        "model_name": model["name"],
        "model_version": str(model["version"]),
        "id": envelope.id or head["request_id"],
        "parameters": parameters,
    }
    if problem is not None:
        value["error"] = f"{problem.code.value}: {problem.message}"
    name = RESULTS
    if rows is None:
        assert problem is not None
        name, rows = ERROR, [quoted(json_bytes(problem.to_value()))]
    elif problem is not None and envelope.binary:
        rows = [quoted(row) for row in rows]
    output: dict[str, Any] = {"name": name, "datatype": BYTES, "shape": [len(rows)]}
    if problem is None and envelope.binary:
        tail = b"".join(piece for row in rows for piece in (LENGTH.pack(len(row)), row))
        value["outputs"] = [{**output, "parameters": {BINARY_SIZE: len(tail)}}]
        return json_bytes(value), tail
    begin, middle = json_bytes(value)[:-1], json_bytes(output)[:-1]
    return b"".join((begin, b', "outputs": [', middle, b', "data": [', *separated(rows), b"]}]}")), b""


def _check_outputs(outputs: Any) -> None:
    if not isinstance(outputs, list) or len(outputs) > 1:
        raise _malformed("outputs", outputs, accepted=f"a list of one output, {RESULTS}")
    for output in outputs:
        if not isinstance(output, dict) or output.get("name") != RESULTS or set(output) - {"name", "parameters"}:
            raise _malformed("outputs[0]", output, accepted=f'{{"name": "{RESULTS}"}}; there is no other output')
        asked = output.get("parameters", {})
        known = isinstance(asked, dict) and not set(asked) - {BINARY_DATA}
        if not known or not isinstance(asked.get(BINARY_DATA, False), bool):
            raise _malformed("outputs[0].parameters", asked, accepted=f"{BINARY_DATA} as true or false")


def _read_tensor(tensor: Any, tail: bytes, *, key: str, limits: Limits) -> tuple[list[Any], bytes]:
    """The images of a tensor, and what of the tail is left for the next ones."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str) or set(tensor) - set(TENSOR_KEYS):
        raise _malformed(key, tensor, accepted=f"an object with {', '.join(TENSOR_KEYS)}")
    check_name(tensor["name"], key=f"{key}.name")
    if tensor.get("datatype") != BYTES:
        accepted = f"{BYTES}; each element is the content of an image file"
        raise _malformed(f"{key}.datatype", tensor.get("datatype"), accepted=accepted)
    count = _count(tensor.get("shape"), key=f"{key}.shape")
    limits.check_count(count)
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict) or set(parameters) - {BINARY_SIZE}:
        raise _malformed(f"{key}.parameters", parameters, accepted=BINARY_SIZE)
    if ("data" in tensor) == (BINARY_SIZE in parameters):
        raise _malformed(key, [*tensor], accepted=f"either data or parameters.{BINARY_SIZE}")
    elements: Sequence[str | bytes]
    if "data" in tensor:
        elements = _json_elements(tensor["data"], key=f"{key}.data")
    else:
        size = parameters[BINARY_SIZE]
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(tail):
            raise _malformed(f"{key}.parameters.{BINARY_SIZE}", size, accepted=f"a number of bytes up to {len(tail)}")
        elements, tail = _binary_elements(tail[:size], key=key, most=count), tail[size:]
    if len(elements) != count:
        found = len(elements) if len(elements) <= count else f"more than {count}"
        raise RequestError(Code.MALFORMED, f"{key}: found {found} elements, accepted {count} as its shape says")
    name = tensor["name"]
    names = [name] if count == 1 else [f"{name}[{number}]" for number in range(count)]
    return [{"name": name, "data": data} for name, data in zip(names, elements, strict=True)], tail


def _count(shape: Any, *, key: str) -> int:
    sizes = shape if isinstance(shape, list) and 1 <= len(shape) <= MOST_DIMENSIONS else [None]
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= LARGEST_SIZE for size in sizes):
        raise _malformed(
            key, shape, accepted=f"a list of 1 to {MOST_DIMENSIONS} sizes, which say how many images there are"
        )
    return math.prod(sizes)


def _json_elements(data: Any, *, key: str) -> list[str]:
    elements = [*_flat(data)] if isinstance(data, list) else [data]
    wrong = [element for element in elements if not isinstance(element, str)]
    if wrong or not isinstance(data, list):
        raise _malformed(key, (wrong or elements)[0], accepted="a list of base64 texts")
    return elements


def _flat(data: list[Any]) -> Iterator[Any]:
    """Elements in row-major order: the protocol lets lists of them be nested as the shape is."""
    for entry in data:
        if isinstance(entry, list):
            yield from _flat(entry)
        else:
            yield entry


def _binary_elements(data: bytes, *, key: str, most: int) -> list[bytes]:
    """Elements of a tensor, one too many at most."""
    elements: list[bytes] = []
    position = 0
    while position < len(data) and len(elements) <= most:
        begin = position + LENGTH.size
        position = begin + (LENGTH.unpack_from(data, position)[0] if begin <= len(data) else 0)
        if position > len(data):
            raise RequestError(Code.MALFORMED, f"{key}: its bytes end within element {len(elements)}")
        elements.append(data[begin:position])
    return elements


def _malformed(key: str, found: Any, *, accepted: str) -> RequestError:
    return RequestError(Code.MALFORMED, f"{key}: found {shown(found)}, accepted {accepted}")
