"""The page beside a bundle on which its files are compared: scores, costs on this machine, int8 layers, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cvforge.export.bundle import MODEL_CARD_NAME
from cvforge.export.int8_files import Int8File
from cvforge.export.judged_by import LIMITS_MEANING, changes_text, limit_rows, loosened
from cvforge.export.measurements import Measurements, measurements_path
from cvforge.export.model_card import IMPORTED
from cvforge.export.report import ExportReport
from cvforge.export.score_tables import (
    CLASS_SCORE,
    CLASSES_SHOWN,
    agreement_rows,
    class_rows,
    class_scores,
    comparison_rows,
    file_rows,
)
from cvforge.html.page import Section, bullets, link, page, paragraph, picture, table
from cvforge_edge.benchmark.cost import FileCost, NotMeasured
from cvforge_edge.benchmark.measure import failures
from cvforge_edge.benchmark.table import NOT_MEASURED, latency_text, threads_text
from cvforge_edge.bundle import file_sha256
from cvforge_edge.manifest import CHECKPOINT, MANIFEST_NAME
from cvforge_edge.types import Task

NOISY_LAYERS_SHOWN = 10
PICTURE_TEXT = (
    "The front holds the files than which no other is both quicker and better. Bars are the intervals of the scores; those "
    "of differences, in the table below, are narrower, since all files are scored on the same pictures. Where such an "
    "interval holds 0, the difference may be chance: take the quicker or smaller file."
)
CLASS_MEANING = {
    Task.CLASSIFICATION: "recall (the share of the pictures of a class that were given the class)",
    Task.DETECTION: "ap",
    Task.SEGMENTATION: "iou",
}
COST_TEXT = (
    "Each file ran in processes of its own, which took turns, on a golden image of the bundle. Latencies: half of the runs "
    "were faster than the first number, 95 % than the one in brackets. Pipeline: preprocessing, network and postprocessing. "
    "Memory: largest resident memory of a process with one thread. Cold start: from the start of a process, which checks "
    "the bundle, to its first prediction; from-to: lowest and highest of the processes."
)


def report_page(report: ExportReport, measured: Measurements, *, plot: bytes | None) -> str:
    """HTML; it names the manifest that it belongs to, by its SHA-256.

    Args:
        report: of the export.
        measured: on this machine.
        plot: the Pareto picture as PNG, or None.
    """
    manifest = report.manifest
    height, width = manifest.preprocess.size_hw
    digest = file_sha256(report.folder / MANIFEST_NAME)
    lead = [
        paragraph(
            f"A network for {manifest.task.value}, {len(manifest.labels)} classes, input {width} x {height} pixels; "
            f"{len(report.verdicts)} files."
        ),
        f"<p>{link(f'{report.folder.name}/{MODEL_CARD_NAME}', 'Model card')}, "
        f"{link(measurements_path(report.folder).name, 'measurements')} (JSON).</p>",
    ]
    footer = [
        paragraph(f"Belongs to the bundle whose {MANIFEST_NAME} has the SHA-256", quiet=True),
        f"<p><code>{digest}</code></p>",
        paragraph(f"Measured on {measured.machine}, with {_versions(measured)}.", quiet=True),
    ]
    sections = [
        *_picture_section(plot),
        Section("scores", "Scores", tuple(_scores(report))),
        Section("judged", "Judged by", tuple(_judged_by(report))),
        Section("agreement", "Agreement with the " + _subject(report), tuple(_agreement(report))),
        Section("costs", "Costs on this machine", tuple(_costs(report, measured))),
        *_int8_sections(report.int8),
        Section("classes", "Classes", tuple(_classes(report))),
    ]
    return page(f"{manifest.name}, version {manifest.version}", lead, sections, footer=footer)


def _versions(measured: Measurements) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in measured.machine.packages.items())
    return f"Python {measured.machine.python}, {packages}"


def _picture_section(plot: bytes | None) -> list[Section]:
    if plot is None:
        return []
    description = "Score, latency and size of every file; the same numbers are in the tables below"
    return [
        Section("choice", "Which file to choose", (picture(plot, description), paragraph(PICTURE_TEXT, quiet=True)))
    ]


def _scores(report: ExportReport) -> list[str]:
    reference, primary = report.reference, report.reference.primary
    if primary is None:
        compared = f"Not scored: outputs were compared on {len(reference.inputs_u8)} images without truth."
        return [paragraph(compared), table(("file", "MB", "worst output error"), comparison_rows(report.verdicts))]
    header = ("file", primary, "difference", "MB", "worst output error")
    split = report.manifest.metrics[0].split
    level = (
        ""
        if reference.interval is None
        else f", in brackets {reference.interval.level:.0%} intervals (bootstrap over pictures)"
    )
    overall = [(name, value) for name, value in reference.metrics.items() if "/" not in name]
    others = [name for name, _ in overall if name != primary]
    columns = [(CHECKPOINT, reference.metrics), *((v.model.path, v.metrics) for v in report.verdicts)]
    rows = [(subject, *(_score(values.get(name)) for name in others)) for subject, values in columns]
    return [
        paragraph(
            f"{primary} on split {split}{level}. Errors are fractions of the output's range, those of a box times its score."
        ),
        table(header, file_rows(report.verdicts, reference)),
        *([paragraph("Other scores:"), table(("file", *others), rows)] if others else []),
    ]


def _judged_by(report: ExportReport) -> list[str]:
    plan = report.plan
    header, *rows = limit_rows(plan)
    return [
        paragraph(f"A file that goes beyond one of these limits is in no bundle; {LIMITS_MEANING}"),
        table(header, rows),
        *(paragraph(line.replace("`", "")) for line in loosened(plan)),
        paragraph(changes_text(plan.provenance), quiet=True),
    ]


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _agreement(report: ExportReport) -> list[str]:
    """How far each file reports what the network reports that it was made of."""
    header, *rows = agreement_rows(report.verdicts)
    meanings = dict.fromkeys(v.agreement.MEANING.replace("`", "") for v in report.verdicts if v.agreement is not None)
    return [table(header, rows), *(paragraph(meaning, quiet=True) for meaning in meanings)]


def _subject(report: ExportReport) -> str:
    return "imported file" if IMPORTED in report.manifest.provenance else CHECKPOINT


def _costs(report: ExportReport, measured: Measurements) -> list[str]:
    subject = "imported file, run as it is," if IMPORTED in report.manifest.provenance else "checkpoint, in PyTorch,"
    checkpoint = f"The {subject} takes {measured.checkpoint_latency_ms:.1f} ms with one thread (network, median)."
    if not measured.files:
        return [paragraph(f"The files were not measured (--no-measure). {checkpoint}")]
    found = [cost for cost in measured.files.values() if isinstance(cost, FileCost)]
    threads = [latency.threads for latency in found[0].latencies] if found else []
    header = ("file", "runtime", *(f"ms, {threads_text(count)}" for count in threads))
    header += ("pipeline, ms", "memory, MB", "cold start, ms", "from-to")
    rows = [(path, *_cost_cells(cost, len(threads))) for path, cost in measured.files.items()]
    reasons = [f"{path}: {reason}" for path, reason in failures(measured.files).items()]
    return [
        paragraph(f"{measured.machine}. {checkpoint}"),
        table(header, rows),
        *([paragraph("Not measured:"), bullets(reasons)] if reasons else []),
        paragraph(COST_TEXT, quiet=True),
    ]


def _cost_cells(cost: FileCost | NotMeasured, columns: int) -> tuple[str, ...]:
    if isinstance(cost, NotMeasured):
        return (NOT_MEASURED, *[""] * (columns + 4))
    start = cost.cold_start_ms
    return (
        cost.backend,
        *(latency_text(latency.network) for latency in cost.latencies),
        latency_text(cost.first.pipeline),
        f"{cost.memory_mb.median:.0f}",
        f"{start.median:.0f}",
        f"{start.low:.0f}-{start.high:.0f}",
    )


def _int8_sections(files: Sequence[Int8File]) -> list[Section]:
    parts: list[str] = []
    for file in files:
        kept = file.search.float_layers
        layers = f"layers back in float: {', '.join(kept)}" if kept else "all layers with weights are in int8"
        parts.append(paragraph(f"{file.verdict.model.path}: {layers}."))
        trials = [(str(len(trial.float_layers)), f"{trial.loss:+.4f}") for trial in file.search.trials]
        parts.append(table(("layers in float", "lost"), trials))
        noisy = [(layer.name, layer.kind, f"{layer.sqnr_db:.1f}") for layer in file.search.noise[:NOISY_LAYERS_SHOWN]]
        parts.append(paragraph("The layers that add the most noise with all of them in int8, worst first:", quiet=True))
        parts.append(table(("layer", "operator", "signal to noise, dB"), noisy))
    return [Section("int8", "Int8", tuple(parts))] if parts else []


def _classes(report: ExportReport) -> list[str]:
    """Scores of the checkpoint and of every file."""
    manifest, reference = report.manifest, report.reference
    if reference.primary is None:
        return [paragraph(", ".join(manifest.labels))]
    header, *rows = class_rows(manifest.task, manifest.labels, reference)
    more = len(manifest.labels) - CLASSES_SHOWN
    note = [paragraph(f"The {CLASSES_SHOWN} lowest; {MANIFEST_NAME} has all.", quiet=True)] if more > 0 else []
    paths = [verdict.model.path for verdict in report.verdicts]
    shown = _by_label(report, [row[0] for row in rows])
    return [
        paragraph(f"{CLASS_MEANING[manifest.task]} of each class:"),
        table((*header[:1], *header[2:], CHECKPOINT, *paths), [(row[0], *row[2:], *shown[row[0]]) for row in rows]),
        *note,
    ]


def _by_label(report: ExportReport, labels: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """For each label the checkpoint's score and that of each file."""
    name = CLASS_SCORE[report.manifest.task]
    checkpoint = dict(
        zip(
            report.manifest.labels,
            class_scores(report.manifest.task, report.manifest.labels, report.reference),
            strict=True,
        )
    )
    return {
        label: (
            _score(checkpoint[label]) or NOT_MEASURED,
            *(_score(verdict.metrics.get(f"{name}/{label}")) for verdict in report.verdicts),
        )
        for label in labels
    }
