"""An ONNX file as its maker left it: read, checked, and its one input and chosen outputs described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from cvforge.errors import CheckpointError, ConfigError, ExportError
from cvforge.export.heads.head import Shape
from cvforge.export.heads.writer import MIN_OPSET

LAYOUTS = {"nchw": (1, 3, None, None), "nhwc": (1, None, None, 3), "chw": (3, None, None)}
"""Accepted shapes of an image input; None stands for height and width."""
INPUT_TYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.UINT8: "uint8"}
MIN_IR_VERSION = 8  # files before 4 list weights as inputs; every later runtime reads 8
READ_ADVICE = "give the .onnx file that the network was exported to, with its external data beside it"


@dataclass(frozen=True)
class ImageInput:
    """The one input of a network.

    Attributes:
        name: in the file.
        layout: a name in `LAYOUTS`.
        element_type: `onnx.TensorProto.FLOAT`, `FLOAT16` or `UINT8`.
        size_hw: height and width, in pixels.
    """

    name: str
    layout: str
    element_type: int
    size_hw: tuple[int, int]

    @property
    def takes_bytes(self) -> bool:
        """Whether the network takes grey levels 0 to 255 and normalises them itself."""
        return self.element_type == onnx.TensorProto.UINT8

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor that the network takes."""
        height, width = self.size_hw
        return {"nchw": (1, 3, height, width), "nhwc": (1, height, width, 3), "chw": (3, height, width)}[self.layout]


@dataclass(frozen=True, eq=False)
class Original:
    """A network that was made elsewhere.

    Attributes:
        path: of its file.
        model: its content, with the input's shape fixed and all shapes inferred.
        image: its input.
        outputs: name -> shape of every output.
    """

    path: Path
    model: onnx.ModelProto
    image: ImageInput
    outputs: Mapping[str, Shape]


def read_original(path: Path, *, size_hw: tuple[int, int] | None) -> Original:
    """Read an ONNX file.

    Args:
        path: the file.
        size_hw: fixes height and width where the file leaves them open; must agree with the file where it does not.

    Raises:
        CheckpointError: there is no such file, or it is no valid ONNX.
        ExportError: it cannot become a graph of the contract: not one image input, or an opset that is too old.
        ConfigError: `size_hw` is missing or contradicts the file.
    """
    model = _read(path)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < MIN_OPSET:
        raise ExportError(
            f"{path.name}: found opset {opset}, accepted {MIN_OPSET} and newer; export the network again with "
            "opset_version=17, or use onnx.version_converter"
        )
    _drop_listed_weights(model)
    image = _image_input(model, size_hw, where=path.name)
    _fix_shapes(model, image, where=path.name)
    outputs = {output.name: _shape(output) for output in model.graph.output}
    return Original(path, model, image, outputs)


def choose_outputs(
    original: Original, usual: Sequence[str], wanted: Sequence[str] | None, *, kind: str
) -> tuple[str, ...]:
    """The outputs that a head reads, in its order.

    Args:
        original: the network.
        usual: names in the head's order; a head of one output takes the only one whatever its name.
        wanted: names that the user gives instead.
        kind: of the head, for messages.

    Raises:
        ConfigError: a wanted name does not exist, or there are too few or too many.
        ExportError: the file has other outputs and the user named none.
    """
    found = ", ".join(f"{name} {shown(shape)}" for name, shape in original.outputs.items())
    if wanted is not None:
        unknown = [name for name in wanted if name not in original.outputs]
        if unknown or len(wanted) != len(usual):
            raise ConfigError(
                f"--outputs: found {', '.join(wanted)}; kind {kind!r} reads {len(usual)} ({', '.join(usual)}), and "
                f"{original.path.name} has {found}"
            )
        return tuple(wanted)
    if len(usual) == 1 and len(original.outputs) == 1:
        return tuple(original.outputs)
    if all(name in original.outputs for name in usual):
        return tuple(usual)
    raise ExportError(
        f"{original.path.name}: found outputs {found}; kind {kind!r} reads {', '.join(usual)}. Name the right ones in "
        f"this order with --outputs, or give another --kind"
    )


def shown(shape: Shape) -> str:
    """A shape for messages, with ? for what is not fixed.

    >>> shown((1, None, 6))
    '(1, ?, 6)'
    """
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise CheckpointError(f"--onnx {path}: no such file; {READ_ADVICE}")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, the checker and the file system share no base class
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(f"--onnx {path}: damaged or not a valid ONNX model: {line}; {READ_ADVICE}") from error
    model.ir_version = max(model.ir_version, MIN_IR_VERSION)
    return model


def _drop_listed_weights(model: onnx.ModelProto) -> None:
    """Weights that old files list among the inputs as well; a weight is no input."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _image_input(model: onnx.ModelProto, size_hw: tuple[int, int] | None, *, where: str) -> ImageInput:
    inputs = list(model.graph.input)
    found = ", ".join(f"{entry.name} {shown(_shape(entry))} {_type_name(entry)}" for entry in inputs) or "none"
    accepted = (
        "one image: (1, 3, height, width), (1, height, width, 3) or (3, height, width), float32, float16 or uint8"
    )
    layouts = [name for entry in inputs for name in LAYOUTS if _matches(_shape(entry), LAYOUTS[name])]
    if len(inputs) != 1 or len(layouts) != 1 or inputs[0].type.tensor_type.elem_type not in INPUT_TYPES:
        raise ExportError(
            f"{where}: found inputs {found}; accepted {accepted}. Export the network alone, without tokens, masks or "
            "sizes as further inputs, and with the number of channels fixed"
        )
    (entry,) = inputs
    sides = [size for size, wanted in zip(_shape(entry), LAYOUTS[layouts[0]], strict=True) if wanted is None]
    height, width = _size(sides, size_hw, where=where)
    return ImageInput(entry.name, layouts[0], entry.type.tensor_type.elem_type, (height, width))


def _size(sides: list[int | None], size_hw: tuple[int, int] | None, *, where: str) -> tuple[int, int]:
    fixed = [side for side in sides if side is not None]
    if len(fixed) < len(sides) and size_hw is None:
        raise ConfigError(
            f"{where}: height and width are dynamic, {shown(tuple(sides))}, and a device needs one size; give "
            "--size HEIGHT,WIDTH, for instance the size it was trained with"
        )
    height, width = size_hw or (fixed[0], fixed[1])
    if any(side not in (None, given) for side, given in zip(sides, (height, width), strict=True)):
        raise ConfigError(
            f"--size: found {height},{width}, but the graph of {where} is made for {shown(tuple(sides))}; leave --size "
            "away, or export the network again at that size"
        )
    return height, width


def _fix_shapes(model: onnx.ModelProto, image: ImageInput, *, where: str) -> None:
    """Give the input its one shape, and infer all others anew: those in the file may stand for another size."""
    shape = model.graph.input[0].type.tensor_type.shape
    del shape.dim[:]
    for size in image.shape:
        shape.dim.add().dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"{where}: its shapes contradict each other: {error}") from error
    model.CopyFrom(inferred)


def _shape(entry: onnx.ValueInfoProto) -> Shape:
    dims = entry.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)


def _type_name(entry: onnx.ValueInfoProto) -> str:
    return onnx.TensorProto.DataType.Name(entry.type.tensor_type.elem_type).lower()


def _matches(shape: Shape, layout: tuple[int | None, ...]) -> bool:
    """Whether a shape is one of a layout; an open batch axis becomes 1, but the channels must be stated."""
    if len(shape) != len(layout):
        return False
    channels = layout.index(3)
    return shape[channels] == 3 and (len(shape) == 3 or shape[0] in (1, None))
