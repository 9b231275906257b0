"""The graph that every exported file holds: one uint8 image in, named outputs out, traced once for all formats."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from cvforge.errors import ExportError
from cvforge.export.embedding import predict_with_embedding
from cvforge.export.nearest import NEAREST, unambiguous_nearest
from cvforge.export.pooling import POOL, plain_pool
from cvforge_edge.postprocess import EMBEDDING
from cvforge_edge.types import Task

INPUT_NAME = "image"
BATCH_AXIS = "batch"
"""Name of the free first axis of a graph for any number of images."""
OUTPUT_ROLES: dict[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: ("probs",),
    Task.DETECTION: ("boxes", "scores"),
    Task.SEGMENTATION: ("logits",),
}
_RANKS = {"probs": 2, "boxes": 3, "scores": 3, "logits": 4}
_BOX_COLUMNS = 4
_DECOMPOSITIONS = {NEAREST: unambiguous_nearest, POOL: plain_pool}
_EXAMPLE_IMAGES = 2  # torch.export takes an axis of length 1 for a constant


@dataclass(frozen=True)
class GraphSpec:
    """What a traced graph must look like.

    Attributes:
        task: decides which outputs there are.
        size_hw: height and width of the input, in pixels.
        num_classes: columns of `probs` and `scores`, channels of `logits`.
        embedding: layer whose features become the output `embedding`; None for a graph without.
    """

    task: Task
    size_hw: tuple[int, int]
    num_classes: int
    embedding: str | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the outputs, in their order in the file."""
        roles = OUTPUT_ROLES[self.task]
        return roles if self.embedding is None else (*roles, EMBEDDING)


@dataclass(frozen=True)
class TracedGraph:
    """What every format is written from.

    Attributes:
        program: the graph, without source lines or paths of the machine that traced it.
        spec: its input size and outputs.
    """

    program: torch.export.ExportedProgram
    spec: GraphSpec


class ExportGraph(nn.Module):
    """A network's `predict` with the input and output names of the graph contract."""

    def __init__(self, net: nn.Module, spec: GraphSpec) -> None:
        super().__init__()
        self.net = net
        self.spec = spec

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Outputs by role, float32, batch first; `image` is (1, h, w, 3) uint8."""
        outputs = predict_with_embedding(self.net, image, self.spec.embedding)
        return {role: outputs[role].float() for role in self.spec.roles}


def trace(net: nn.Module, spec: GraphSpec) -> TracedGraph:
    """The graph of a network for one image, ready to be written in any format; the network itself is left as it is.

    Args:
        net: offers `predict(images) -> dict[str, Tensor]` of the contract, and `export_blocker`.
        spec: what the graph must look like.

    Raises:
        ExportError: the network says that it cannot be exported, breaks the contract, or cannot be traced.
    """
    return _trace(net, spec, images=1)


def trace_batch(net: nn.Module, spec: GraphSpec) -> TracedGraph:
    """The same for any number of images in one call, as servers run it; only ONNX takes such a graph.

    Raises:
        ExportError: as `trace`, and where the network fixes the number of images.
    """
    return _trace(net, spec, images=_EXAMPLE_IMAGES)


def _trace(net: nn.Module, spec: GraphSpec, *, images: int) -> TracedGraph:
    name = type(net).__name__
    blocker = getattr(net, "export_blocker", None)
    if blocker:
        raise ExportError(
            f"{name} cannot be exported: {blocker}. It can be trained, evaluated and used with tools/predict.py; "
            "for a device choose a model without this limit, for instance `model=edge_detector`"
        )
    graph = ExportGraph(copy.deepcopy(net).cpu().float(), spec).eval()
    image = torch.zeros((images, *spec.size_hw, 3), dtype=torch.uint8)
    with torch.no_grad():
        _check_contract(name, net=graph.net, image=image, spec=spec)
        return TracedGraph(_traced(name, graph=graph, image=image), spec)


def _traced(name: str, *, graph: ExportGraph, image: torch.Tensor) -> torch.export.ExportedProgram:
    is_batch = len(image) > 1
    free_axes = {INPUT_NAME: {0: torch.export.Dim(BATCH_AXIS)}} if is_batch else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own deprecations while tracing
            program = torch.export.export(graph, (), {INPUT_NAME: image}, dynamic_shapes=free_axes, strict=False)
            program = program.run_decompositions(_DECOMPOSITIONS)  # also: in-place and view operators away
    except Exception as error:  # tracing raises dozens of types; all mean the same to the user
        needs = (
            f"the batch form (export.{BATCH_AXIS}) needs a `predict` that takes any number of images; without it the "
            "network may well be exported"
            if is_batch
            else "torch.export needs static shapes and no Python branches on tensor values inside `predict`"
        )
        raise ExportError(f"{name} cannot be traced: {type(error).__name__}: {_first_line(error)}. {needs}") from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # holds paths and source lines of this machine
    return program


def _check_contract(name: str, *, net: nn.Module, image: torch.Tensor, spec: GraphSpec) -> None:
    outputs = predict_with_embedding(net, image, spec.embedding)
    problems = []
    if not isinstance(outputs, dict):
        raise ExportError(
            f"{name}.predict: found {type(outputs).__name__}, expected a dict with {', '.join(OUTPUT_ROLES[spec.task])}"
        )
    for role in OUTPUT_ROLES[spec.task]:
        if role not in outputs:
            problems.append(f"output {role!r} is missing (found {', '.join(outputs) or 'none'})")
            continue
        shape = tuple(outputs[role].shape)
        problems += _shape_problems(role, shape, images=len(image), num_classes=spec.num_classes)
    if problems:
        raise ExportError(f"{name}.predict breaks the contract of {spec.task.value}: " + "; ".join(problems))


def _shape_problems(role: str, shape: tuple[int, ...], *, images: int, num_classes: int) -> list[str]:
    columns = _BOX_COLUMNS if role == "boxes" else num_classes
    if len(shape) == _RANKS[role] and shape[0] == images and shape[-1] == columns:
        return []
    return [f"{role} has shape {shape}, expected {_RANKS[role]} axes, the first {images} and the last {columns}"]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no message"
