"""Exports a run: its config and checkpoint become a plan and a network, and the result becomes a table."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from rich.table import Table

import cvforge
from cvforge.commands.keys import open_keys
from cvforge.commands.model import matching_dataset, require_run, run_config
from cvforge.commands.terminal import rows_table, stage_bars, stdout_console
from cvforge.config import build
from cvforge.config.schema import Config
from cvforge.environment import REPOSITORY, git_state
from cvforge.errors import ConfigError
from cvforge.evaluation import spread_indices
from cvforge.export.beside import Beside, write_beside
from cvforge.export.bundle import ExportReport, write_bundle
from cvforge.export.calibration import calibration_inputs
from cvforge.export.embedding import embedding_layer
from cvforge.export.folder import check_target
from cvforge.export.formats import INT8
from cvforge.export.model_card import DATA_FINGERPRINTS, IMPORTED
from cvforge.export.plan import ExportPlan
from cvforge.export.score_tables import agreement_rows, comparison_rows, file_rows
from cvforge.export.source import Source, network_source
from cvforge.export.verify import Scoring
from cvforge.runs import Run
from cvforge_edge.benchmark.table import cost_header, cost_rows
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
    with stage_bars() as stages:
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
        golden_images=config.export.golden_images,
        split=SPLIT if scored == len(dataset) else f"{SPLIT}, {scored} of {len(dataset)} images",
        data_fingerprint=dataset.fingerprint(),
        run_id=run.dir.name,
        provenance=_provenance(run, config, request.checkpoint),
        max_float_layers=config.export.max_float_layers,
        intended_use=config.export.intended_use,
        version=request.model_version,
        batch=config.export.batch or request.batch,
        embedding=embedding,
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


def int8_lines(report: ExportReport) -> list[str]:
    """One sentence for each int8 file: which layers stayed in float, and what every trial lost."""
    lines = []
    for file in report.int8:
        losses = ", ".join(f"{trial.loss:+.4f}" for trial in file.search.trials)
        kept = ", ".join(file.search.float_layers) or "none"
        lines.append(f"{file.verdict.model.path}: layers back in float: {kept} (lost {losses})")
    return lines


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


def print_report(report: ExportReport, beside: Beside) -> None:
    """Show what was written, what was measured, and what to do next."""
    folder = _shown_path(report.folder)
    stdout_console().print(report_table(report))
    stdout_console().print(agreement_table(report))
    if beside.measured.files:
        stdout_console().print(cost_table(report, beside))
    for line in int8_lines(report):
        print(line)
    print(f"bundle: {folder}")
    print(f"report: {_shown_path(beside.report)}")
    print(f"next:   python deploy/edge/run_camera.py --bundle {folder} --self-test")


def report_table(report: ExportReport) -> Table:
    """One row for the checkpoint and for each file: score, difference, size, worst error of a raw output."""
    reference, primary = report.reference, report.reference.primary
    if primary is None:
        title = f"compared on {len(reference.inputs_u8)} images, not scored"
        return rows_table(title, (report.manifest.name, "MB", "output error"), comparison_rows(report.verdicts))
    columns = (report.manifest.name, primary, "difference", "MB", "output error")
    level = "" if reference.interval is None else f" with {reference.interval.level:.0%} intervals"
    rows = file_rows(report.verdicts, reference, first=_reference_name(report))
    return rows_table(f"{primary} on {report.manifest.metrics[0].split}{level}", columns, rows)


def cost_table(report: ExportReport, beside: Beside) -> Table:
    """One row for the checkpoint and for each file: latency, memory and cold start on this machine."""
    costs = beside.measured.files
    header = cost_header(costs)
    checkpoint = (_reference_name(report), f"{beside.measured.checkpoint_latency_ms:.1f}", *[""] * (len(header) - 1))
    title = f"on {beside.measured.machine}: p50 of the network, p95 in brackets"
    return rows_table(title, ("", *header), [checkpoint, *cost_rows(costs)])


def agreement_table(report: ExportReport) -> Table:
    """One row for each file: how far what it reports is what the checkpoint reports."""
    (_, *columns), *rows = agreement_rows(report.verdicts)
    title = f"agreement with {_reference_name(report)}"
    return rows_table(title, (report.manifest.name, *columns), rows)


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


def _provenance(run: Run, config: Config, checkpoint: str) -> dict[str, object]:
    """Where the bundle of a run comes from."""
    return {
        **tool_provenance(),
        "config": config.run.name,
        "config_sha256": hashlib.sha256(run.config.read_bytes()).hexdigest(),
        "checkpoint": Path(checkpoint).name,
        DATA_FINGERPRINTS: run.fingerprints,
    }


def _shown_path(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _reference_name(report: ExportReport) -> str:
    return "the imported file" if IMPORTED in report.manifest.provenance else "checkpoint (PyTorch)"


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
