"""Makes a bundle of an ONNX file that was made elsewhere: options become a checked import, a scoring and a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cvforge.commands.export import SPLIT, bundle_target, tool_provenance
from cvforge.commands.export_report import evidence_of_refusal
from cvforge.commands.import_card import card_sections, import_provenance
from cvforge.commands.import_options import read_labels
from cvforge.commands.keys import open_keys
from cvforge.commands.model import matching_dataset
from cvforge.commands.terminal import stage_bars
from cvforge.config import build
from cvforge.config.load import load
from cvforge.config.schema import Config, ExportSection
from cvforge.config.section import export_section
from cvforge.data.unlabelled import UnlabelledImages
from cvforge.errors import ConfigError, ExportError
from cvforge.evaluation import spread_indices
from cvforge.export.beside import Beside, write_beside
from cvforge.export.bundle import write_bundle
from cvforge.export.compose import Import, Normalisation, compose
from cvforge.export.formats import FLOAT_PRECISIONS
from cvforge.export.heads.head import DecodeSpec, Head
from cvforge.export.heads.table import HEADS
from cvforge.export.judged_by import OVERRIDES, recorded_overrides
from cvforge.export.model_card import IMPORTED
from cvforge.export.onnx import write_onnx_model
from cvforge.export.original import ImageInput, Original, choose_outputs, read_original, shown
from cvforge.export.original_backend import OriginalBackend
from cvforge.export.plan import ExportPlan
from cvforge.export.report import ExportReport
from cvforge.export.source import Source, file_name
from cvforge.export.stages import Stages
from cvforge.export.verify import Scoring
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec

FORMAT = "onnx"
WHITE = 255


@dataclass(frozen=True)
class ImportRequest:
    """What a user asks for; None stands for what the kind usually has.

    Attributes:
        onnx: the file.
        kind: a name in `HEADS`.
        labels: see `read_labels`.
        images: folder of images without truth; this or `config`.
        config: name or path of the config whose validation set is scored.
        overrides: `data.root=/path` and the like.
        limit: score on so many images only.
        size_hw: height and width, where the file leaves them open.
        resize, pad_value, interpolation: see `PreprocessSpec`.
        color, scale, mean, std: see `Normalisation`.
        outputs: names in the file.
        label_ids: the network's number of each label.
        score_threshold, iou_threshold, max_detections: see `PostprocessSpec`.
        precisions: `fp32`, `fp16`.
        output: the bundle's folder; None for `bundles/<name>`.
        name: of the model on the device; None for the file's name.
        force: replace a bundle that is there.
        keys: private keys to sign the bundle with; empty for an unsigned one.
        model_version: of the bundle; grows with every release of `name`.
        measure: False leaves the files unmeasured; None for what the config says.
    """

    onnx: Path
    kind: str
    labels: str
    images: Path | None = None
    config: str | None = None
    overrides: Sequence[str] = ()
    limit: int | None = None
    size_hw: tuple[int, int] | None = None
    resize: str | None = None
    pad_value: int = 114
    interpolation: str = "linear"
    color: str | None = None
    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    outputs: tuple[str, ...] | None = None
    label_ids: tuple[int, ...] | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int = 300
    precisions: tuple[str, ...] = ("fp32",)
    output: Path | None = None
    name: str | None = None
    force: bool = False
    keys: Sequence[Path] = ()
    model_version: int = 1
    measure: bool | None = None


def import_onnx(request: ImportRequest) -> tuple[ExportReport, Beside]:
    """Make a verified bundle and what lies beside it, with progress on the terminal.

    Args:
        request: what the user asks for.

    Raises:
        CVForgeError, EdgeError: the request, the file or the data are wrong, or the result differs from the file.
    """
    if (request.images is None) == (request.config is None):
        raise ConfigError(
            "give --images FOLDER (outputs are compared) or --config NAME data.root=... (and scored), not both"
        )
    if request.images is not None and request.limit:
        raise ConfigError("--limit belongs to --config; with --images there is nothing to score")
    unknown = [precision for precision in request.precisions if precision not in FLOAT_PRECISIONS]
    if unknown:
        raise ConfigError(f"--precision: found {', '.join(unknown)}; an import accepts {', '.join(FLOAT_PRECISIONS)}")
    name = request.name or request.onnx.stem
    target = bundle_target(name, request.output, replace_existing=request.force)
    keys = open_keys(request.keys)
    labels = read_labels(request.labels)
    head = HEADS[request.kind]
    what = _import(request, head, labels=labels)
    config = load(request.config, list(request.overrides)) if request.config is not None else None
    section = export_section(request.overrides) if config is None else config.export
    postprocess = _postprocess(request, head)
    scoring = _scoring(config, request, head=head, labels=labels, postprocess=postprocess)
    sections = card_sections(what, kind=request.kind, config=config)
    plan = _plan(what, scoring, request, labels=labels, name=name, section=section, postprocess=postprocess)
    plan = replace(plan, card_sections=sections)
    source = Source(OriginalBackend(what), partial(_write, what))
    with evidence_of_refusal(), stage_bars() as stages:
        report = write_bundle(
            source, scoring, plan, target=target, replace_existing=request.force, stages=stages, keys=keys
        )
        measure = section.measure if request.measure is None else request.measure
        return report, write_beside(report, measure=measure, stages=stages)


def _import(request: ImportRequest, head: Head, *, labels: tuple[str, ...]) -> Import:
    label_ids = _label_ids(request, head, count=len(labels))
    original = read_original(request.onnx, size_hw=request.size_hw)
    normalisation = _normalisation(request, head, original.image)
    outputs = choose_outputs(original, head.outputs, request.outputs, kind=request.kind)
    shapes = tuple(original.outputs[output] for output in outputs)
    found = ", ".join(f"{output} {shown(shape)}" for output, shape in zip(outputs, shapes, strict=True))
    if not head.fits(shapes):
        raise ExportError(
            f"{request.onnx.name}: found {found}; kind {request.kind!r} accepts {head.expected}, all other sizes fixed. "
            "Give another --kind or --outputs, or export the network again with a fixed batch of 1"
        )
    _check_classes(original, head, shapes=shapes, found=found, labels=labels)
    decode = DecodeSpec(original.image.size_hw, len(labels), shapes, label_ids, request.max_detections)
    return Import(original, head, outputs, decode, normalisation)


def _check_classes(original: Original, head: Head, *, shapes: Any, found: str, labels: tuple[str, ...]) -> None:
    classes = head.count_classes(shapes)
    if classes is not None and classes != len(labels):
        turned = "; or its last two axes are turned round" if len(shapes[0]) == 3 and classes > len(labels) else ""
        raise ConfigError(
            f"--labels: found {len(labels)} names, but {original.path.name} has {classes} classes: {found}, which this kind "
            f"reads as {head.expected}; give one name for each class, in the network's order{turned}"
        )


def _normalisation(request: ImportRequest, head: Head, image: ImageInput) -> Normalisation:
    color = request.color or head.color
    if image.takes_bytes:
        if (request.scale, request.mean, request.std) != (None, None, None):
            raise ConfigError(
                f"--scale, --mean, --std: input {image.name!r} takes uint8, so the network normalises by itself; leave "
                "them away"
            )
        return Normalisation(color, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean, std, scale = request.mean or head.mean, request.std or head.std, request.scale or 1 / WHITE
    if mean is None or std is None:
        raise ConfigError(
            f"--mean, --std: missing; networks of kind {request.kind!r} have no convention, and a wrong one costs "
            "accuracy without any error. torchvision and most of timm: --mean 0.485,0.456,0.406 --std "
            "0.229,0.224,0.225; none: --mean 0 --std 1"
        )
    if min(std) <= 0:
        raise ConfigError(f"--std: found {std}, accepted numbers above 0")
    if max(mean) > WHITE * scale or min(mean) < 0:
        raise ConfigError(
            f"--mean: found {mean}, but with --scale {scale:g} channels run from 0 to {WHITE * scale:g}; means in grey "
            "levels go with --scale 1"
        )
    return Normalisation(color, scale, mean, std)


def _label_ids(request: ImportRequest, head: Head, *, count: int) -> tuple[int, ...]:
    if head.first_label_id is None:
        if request.label_ids is not None:
            raise ConfigError(
                f"--label-ids: kind {request.kind!r} gives a score for each class, so there are no numbers"
            )
        return ()
    ids: tuple[int, ...] = request.label_ids or tuple(range(head.first_label_id, head.first_label_id + count))
    if len(ids) != count or len(set(ids)) < len(ids):
        raise ConfigError(
            f"--label-ids: found {len(ids)} numbers for {count} labels; accepted one, and only once, for each"
        )
    return ids


def _postprocess(request: ImportRequest, head: Head) -> PostprocessSpec:
    return PostprocessSpec(
        head.postprocess,
        head.score_threshold if request.score_threshold is None else request.score_threshold,
        head.iou_threshold if request.iou_threshold is None else request.iou_threshold,
        request.max_detections,
    )


def _scoring(
    config: Config | None,
    request: ImportRequest,
    *,
    head: Head,
    labels: tuple[str, ...],
    postprocess: PostprocessSpec,
) -> Scoring:
    if config is None:
        return Scoring(UnlabelledImages(request.images), None, postprocess)
    dataset = matching_dataset(config, SPLIT, task=head.task, labels=labels)
    thresholds = replace(build.build_evaluation_postprocess(config), kind=head.postprocess)
    return Scoring(dataset, build.build_metric(config, labels), thresholds, request.limit)


def _plan(
    what: Import,
    scoring: Scoring,
    request: ImportRequest,
    *,
    labels: tuple[str, ...],
    name: str,
    section: ExportSection,
    postprocess: PostprocessSpec,
) -> ExportPlan:
    dataset: Any = scoring.dataset
    total, scored = len(dataset), len(spread_indices(len(dataset), scoring.limit))
    split = "images without truth" if request.config is None else SPLIT
    return ExportPlan(
        name=name,
        task=what.head.task,
        labels=labels,
        preprocess=PreprocessSpec(
            what.original.image.size_hw,
            resize=request.resize or what.head.resize,
            pad_value=request.pad_value,
            interpolation=request.interpolation,
        ),
        postprocess=postprocess,
        formats=(FORMAT,),
        precisions=request.precisions,
        metric_budget=section.metric_budget,
        tensor_tolerance=section.tensor_tolerance,
        tensor_peak=section.tensor_peak,
        golden_images=section.golden_images,
        split=split if scored == total else f"{split}, {scored} of {total} images",
        data_fingerprint=dataset.fingerprint(),
        run_id=IMPORTED,
        provenance={
            **tool_provenance(),
            IMPORTED: import_provenance(what, kind=request.kind),
            OVERRIDES: recorded_overrides(request.overrides),
        },
        intended_use=section.intended_use,
        version=request.model_version,
    )


def _write(what: Import, draft: Path, _scratch: Path, plan: ExportPlan, stages: Stages) -> dict[str, Path]:
    stages("compose the graph")
    paths = {precision: draft / file_name(FORMAT, precision) for precision in plan.precisions}
    write_onnx_model(compose(what), paths)
    return {}  # no int8: that takes training images
