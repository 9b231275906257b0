"""Exports a run: its config and checkpoint become a plan and a network, and the result becomes a table."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

import cvforge
from cvforge.commands.export_report import evidence_of_refusal
from cvforge.commands.keys import open_keys
from cvforge.commands.model import matching_dataset, require_run, run_config
from cvforge.commands.terminal import stage_bars
from cvforge.config import build
from cvforge.config.load import load_resolved
from cvforge.config.schema import Config
from cvforge.environment import REPOSITORY, git_state
from cvforge.errors import ConfigError
from cvforge.evaluation import spread_indices
from cvforge.export.beside import Beside, write_beside
from cvforge.export.bundle import write_bundle
from cvforge.export.calibration import calibration_inputs
from cvforge.export.embedding import embedding_layer
from cvforge.export.folder import check_target
from cvforge.export.formats import INT8
from cvforge.export.judged_by import OVERRIDES, config_limits, recorded_overrides
from cvforge.export.model_card import DATA_FINGERPRINTS
from cvforge.export.plan import ExportPlan
from cvforge.export.report import ExportReport
from cvforge.export.source import Source, network_source
from cvforge.export.verify import Scoring
from cvforge.runs import Run
from cvforge_edge.bundle import file_sha256
from cvforge_edge.manifest import name_problems
from cvforge_edge.types import Task

SPLIT = "val"
SECTIONS = ("data", "export", "evaluation")
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "numpy",
    "opencv-python-headless",
    "hotcoco",
    "pycocotools",
)


@dataclass(frozen=True)
class ExportRequest:
    """What a user asks for.

    Attributes:
        run: the run's folder.
        checkpoint: `best`, `last` or a path.
        formats: None for those of the config.
        precisions: None for those of the config.
        output: the bundle's folder; None for `bundles/<name>`.
        name: of the model on the device; None for the run's name in its config.
        force: replace a bundle that is there.
        limit: score the files on so many images only.
        keys: private keys to sign the bundle with; empty for an unsigned one.
        model_version: of the bundle; grows with every release of `name`, since devices that check signatures never go back.
        measure: False leaves the files unmeasured; None for what the config says.
        batch: also make files for servers, as if the config asked for them.
        overrides: `export.metric_budget.fp16=0.01` and the like.
    """

    run: Path
    checkpoint: str = "best"
    formats: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    output: Path | None = None
    name: str | None = None
    force: bool = False
    limit: int | None = None
    keys: tuple[Path, ...] = ()
    model_version: int = 1
    measure: bool | None = None
    batch: bool = False
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunExport:
    """A run, ready to be exported.

    Attributes:
        source: its network.
        scoring: the validation images.
        plan: what the config and the user ask for.
        calibration: prepared training images (h, w, 3) uint8 where int8 files are asked for.
    """

    source: Source
    scoring: Scoring
    plan: ExportPlan
    calibration: list[np.ndarray]


def export_run(request: ExportRequest) -> tuple[ExportReport, Beside]:
    """Make a verified bundle of a run and what lies beside it, with progress on the terminal.

    Raises:
        CVForgeError: see `cvforge.export.bundle.write_bundle`; also when the request or the run is wrong.
    """
    run = require_run(request.run)
    config = run_config(run, request.overrides, sections=SECTIONS)
    target = bundle_target(request.name or config.run.name, request.output, replace_existing=request.force)
    keys = open_keys(request.keys)  # before hours of work
    prepared = prepare_export(run, config, request)
    with evidence_of_refusal(), stage_bars() as stages:
        report = write_bundle(
            prepared.source,
            prepared.scoring,
            prepared.plan,
            target=target,
            replace_existing=request.force,
            stages=stages,
            calibration=prepared.calibration,
            keys=keys,
        )
        measure = config.export.measure if request.measure is None else request.measure
        return report, write_beside(report, measure=measure, stages=stages)


def prepare_export(run: Run, config: Config, request: ExportRequest) -> RunExport:
    """The network, the images and the plan of an export; writes nothing.

    Raises:
        CVForgeError: the checkpoint, the data or the request are wrong.
    """
    net = build.load_net(run, request.checkpoint, config=config)
    dataset = matching_dataset(config, SPLIT, task=Task(config.task), labels=run.labels)
    scored = len(spread_indices(len(dataset), request.limit))
    embedding = embedding_layer(net) if config.export.embedding else None
    plan = ExportPlan(
        name=request.name or config.run.name,
        task=Task(config.task),
        labels=run.labels,
        preprocess=build.build_preprocess(config),
        postprocess=build.build_postprocess(config),
        formats=tuple(config.export.formats) if request.formats is None else request.formats,
        precisions=tuple(config.export.precisions) if request.precisions is None else request.precisions,
        metric_budget=config.export.metric_budget,
        tensor_tolerance=config.export.tensor_tolerance,
        tensor_peak=config.export.tensor_peak,
        golden_images=config.export.golden_images,
        split=SPLIT if scored == len(dataset) else f"{SPLIT}, {scored} of {len(dataset)} images",
        data_fingerprint=dataset.fingerprint(),
        run_id=run.dir.name,
        provenance=_provenance(run, config, request),
        max_float_layers=config.export.max_float_layers,
        intended_use=config.export.intended_use,
        version=request.model_version,
        batch=config.export.batch or request.batch,
        embedding=embedding,
        config_limits=config_limits(load_resolved(run.config).export),
    )
    scoring = Scoring(
        dataset, build.build_metric(config, run.labels), build.build_evaluation_postprocess(config), request.limit
    )
    return RunExport(network_source(net, embedding=embedding), scoring, plan, _calibration(config, plan))


def _calibration(config: Config, plan: ExportPlan) -> list[np.ndarray]:
    """Prepared training images for the ranges of int8 files; none where no int8 file is asked for."""
    if INT8 not in plan.precisions:
        return []
    dataset = matching_dataset(config, "train", task=plan.task, labels=plan.labels)
    return calibration_inputs(dataset, plan.preprocess, config.export.calibration_images)


def bundle_target(name: str, output: Path | None, *, replace_existing: bool) -> Path:
    """The absolute folder of a bundle: `output`, or `bundles/<name>`.

    Raises:
        ConfigError, RunExistsError: the name cannot be a model's, or the folder is taken.
    """
    if name_problems(name):
        raise ConfigError(f"--name: {'; '.join(name_problems(name))}; give --name")
    target = (output or Path("bundles") / name).resolve()
    check_target(target, replace=replace_existing)
    return target


def tool_provenance() -> dict[str, object]:
    """Which code and packages made a bundle, without paths, user or host of this machine."""
    git = git_state(REPOSITORY) or {}
    return {
        "cvforge": cvforge.__version__,
        "git_commit": git.get("commit"),
        "git_dirty": git.get("dirty"),
        "python": ".".join(str(number) for number in sys.version_info[:3]),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _provenance(run: Run, config: Config, request: ExportRequest) -> dict[str, object]:
    """Where the bundle of a run comes from."""
    return {
        **tool_provenance(),
        "config": config.run.name,
        "config_sha256": hashlib.sha256(run.config.read_bytes()).hexdigest(),
        "checkpoint": Path(request.checkpoint).name,
        "checkpoint_sha256": file_sha256(build.checkpoint_path(run, request.checkpoint)),
        OVERRIDES: recorded_overrides(request.overrides),
        DATA_FINGERPRINTS: run.fingerprints,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def parse_names(text: str) -> tuple[str, ...]:
    """The names in `onnx,tflite`; spaces around them do not count.

    >>> parse_names("onnx, tflite")
    ('onnx', 'tflite')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())
