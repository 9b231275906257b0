"""Runs a SavedModel through TensorFlow's C interface: `python c_loader.py FOLDER IMAGES ANSWERS`.

`TF_LoadSessionFromSavedModel` is `tensorflow::LoadSavedModel` in C++, the function that TensorFlow Serving loads models with;
`TF_SessionRun` then does what it does for a request: feed and fetch the tensors that the signature names. No Python
function of TensorFlow has a part in it, except that the signature is read with its protocol buffer classes.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

NUMBER_TYPES = {1: np.float32, 4: np.uint8}
LIBRARY = ctypes.CDLL(str(Path(tf.__file__).parent / "libtensorflow_cc.so.2"))
Pointer = ctypes.c_void_p


class Output(ctypes.Structure):
    """`TF_Output`: a tensor of a graph."""

    _fields_ = (("operation", Pointer), ("index", ctypes.c_int))


def function(name: str, result: object, *arguments: object) -> object:
    """A C function with its types."""
    found = getattr(LIBRARY, name)
    found.restype, found.argtypes = result, list(arguments)
    return found


new_status = function("TF_NewStatus", Pointer)
code_of = function("TF_GetCode", ctypes.c_int, Pointer)
message_of = function("TF_Message", ctypes.c_char_p, Pointer)
new_graph = function("TF_NewGraph", Pointer)
new_options = function("TF_NewSessionOptions", Pointer)
operation_by_name = function("TF_GraphOperationByName", Pointer, Pointer, ctypes.c_char_p)
allocate = function("TF_AllocateTensor", Pointer, ctypes.c_int, Pointer, ctypes.c_int, ctypes.c_size_t)
data_of = function("TF_TensorData", Pointer, Pointer)
rank_of = function("TF_NumDims", ctypes.c_int, Pointer)
size_of = function("TF_Dim", ctypes.c_int64, Pointer, ctypes.c_int)
bytes_of = function("TF_TensorByteSize", ctypes.c_size_t, Pointer)
type_of = function("TF_TensorType", ctypes.c_int, Pointer)
load = function(
    "TF_LoadSessionFromSavedModel",
    Pointer,
    Pointer,
    Pointer,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_char_p),
    ctypes.c_int,
    Pointer,
    Pointer,
    Pointer,
)
run = function(
    "TF_SessionRun",
    None,
    Pointer,
    Pointer,
    ctypes.POINTER(Output),
    ctypes.POINTER(Pointer),
    ctypes.c_int,
    ctypes.POINTER(Output),
    ctypes.POINTER(Pointer),
    ctypes.c_int,
    Pointer,
    ctypes.c_int,
    Pointer,
    Pointer,
)


def check(status: Pointer) -> None:
    """Stop where a call has failed."""
    if code_of(status):
        raise SystemExit(message_of(status).decode("utf-8"))


def to_tensor(array: np.ndarray) -> Pointer:
    """A tensor uint8 with the content of an array."""
    sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = allocate(4, sizes, array.ndim, array.nbytes)
    ctypes.memmove(data_of(tensor), array.ctypes.data, array.nbytes)
    return tensor


def to_array(tensor: Pointer) -> np.ndarray:
    """The content of a tensor."""
    shape = [size_of(tensor, axis) for axis in range(rank_of(tensor))]
    content = ctypes.string_at(data_of(tensor), bytes_of(tensor))
    return np.frombuffer(content, NUMBER_TYPES[type_of(tensor)]).reshape(shape)


def place(graph: Pointer, name: str) -> Output:
    """The tensor that a signature means by `operation:index`."""
    operation, _, index = name.partition(":")
    found = operation_by_name(graph, operation.encode("utf-8"))
    assert found, name
    return Output(found, int(index))


def main(folder: str, images: str, answers: str) -> None:
    """Answer the images (b, h, w, 3) uint8 of one file; write the outputs by name to another."""
    model = saved_model_pb2.SavedModel.FromString((Path(folder) / "saved_model.pb").read_bytes())
    signature = model.meta_graphs[0].signature_def["serving_default"]
    status, graph = new_status(), new_graph()
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = load(new_options(), None, folder.encode("utf-8"), tags, 1, graph, None, status)
    check(status)
    names = sorted(signature.outputs)
    feeds = (Output * 1)(place(graph, signature.inputs["image"].name))
    fetches = (Output * len(names))(*(place(graph, signature.outputs[name].name) for name in names))
    given = (Pointer * 1)(to_tensor(np.load(images)))
    found = (Pointer * len(names))()
    run(session, None, feeds, given, 1, fetches, found, len(names), None, 0, None, status)
    check(status)
    np.savez(answers, **{name: to_array(found[index]) for index, name in enumerate(names)})


if __name__ == "__main__":
    main(*sys.argv[1:])
