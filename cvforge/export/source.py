"""What a bundle is made of: a network that answers, and how its model files are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from cvforge.export.formats import BATCH_FORMAT, FLOAT_PRECISIONS, FORMATS, INT8
from cvforge.export.onnx import write_onnx
from cvforge.export.plan import ExportPlan
from cvforge.export.stages import Stages
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.wrap import trace, trace_batch
from cvforge_edge.backends import Backend

FILE_MODE = 0o644  # one of the converters marks its files as programs


@dataclass(frozen=True)
class Source:
    """What a bundle is made of.

    Attributes:
        backend: answers as the network should; every file is held against it.
        write: takes the bundle's folder, a folder for intermediate files, the plan and the display of progress. Writes
            every float file of the plan, named by `file_name`, and returns by format the fp32 file that int8 is to be
            made of; empty where the plan asks for none. Those of the batch form lie where `float_path` says.
    """

    backend: Backend
    write: Callable[[Path, Path, ExportPlan, Stages], dict[str, Path]]


def network_source(net: nn.Module, *, embedding: str | None = None) -> Source:
    """A trained network of the contract, traced and converted.

    Args:
        net: the network.
        embedding: as in the plan that it will be written with.

    `Source.write` raises ExportError where the network cannot be converted.
    """
    return Source(TorchBackend(net, embedding=embedding), partial(_convert, net))


def file_name(format_name: str, precision: str, *, batch: bool = False) -> str:
    """Of a model file.

    >>> file_name("onnx", "fp16"), file_name("onnx", "fp16", batch=True)
    ('model_fp16.onnx', 'model_fp16_batch.onnx')
    """
    return f"model_{precision}{'_batch' if batch else ''}.{format_name}"


def float_path(name: str, precision: str, *, plan: ExportPlan, draft: Path, scratch: Path, batch: bool = False) -> Path:
    """Where a float file is written: into the bundle's draft if the plan wants it, else beside, for int8 to be made of it."""
    return (draft if precision in plan.precisions else scratch) / file_name(name, precision, batch=batch)


def float_precisions(plan: ExportPlan) -> list[str]:
    """Those of a plan that are written as they are, rather than made of another file."""
    return [precision for precision in FLOAT_PRECISIONS if precision in plan.precisions]


def _convert(net: nn.Module, draft: Path, scratch: Path, plan: ExportPlan, stages: Stages) -> dict[str, Path]:
    stages("trace the network")
    graph = trace(net, plan.graph)
    needed = float_precisions(plan)
    if INT8 in plan.precisions and "fp32" not in needed:
        needed.append("fp32")
    sources = {}
    for name in (name for name in FORMATS if name in plan.formats):
        stages(f"convert to {name} ({', '.join(needed)})")
        files = {
            precision: float_path(name, precision, plan=plan, draft=draft, scratch=scratch) for precision in needed
        }
        FORMATS[name].write(graph, files)
        for file in files.values():
            file.chmod(FILE_MODE)
        if INT8 in plan.precisions:
            sources[name] = files["fp32"]
    if plan.batch:
        stages(f"convert to {BATCH_FORMAT}, batch form ({', '.join(needed)})")
        place = partial(float_path, BATCH_FORMAT, plan=plan, draft=draft, scratch=scratch, batch=True)
        write_onnx(trace_batch(net, plan.graph), {precision: place(precision) for precision in needed})
    return sources
