"""The page that a run ends with: one file, nothing is loaded, no script runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvforge.html import chart as chart_html
from cvforge.html import matrix as matrix_html
from cvforge.html.chart import Chart, charts
from cvforge.html.matrix import matrix_table, most_confused
from cvforge.html.page import (
    Section,
    folded,
    heading,
    page,
    paragraph,
    picture_figure,
    picture_grid,
    preformatted,
    side_by_side,
    table,
    tiles,
    warning,
)
from cvforge.report.costs import Costs
from cvforge.report.figures import Figures
from cvforge.report.origin import Origin
from cvforge.report.pictures import Extremes, ShownImage

CLASSES_IN_MATRIX = 24
CLASSES_SHOWN = 40
"""Rows of the table of classes that are seen at once."""
STYLE = chart_html.STYLE + matrix_html.STYLE
MINUTE_S, HOUR_S = 60, 3600


@dataclass(frozen=True)
class RunRecord:
    """What a run left in its folder.

    Attributes:
        name: of the folder.
        task: its name.
        primary: the score that chose the checkpoint.
        summary: final scores and counts, as `metrics.json` has them; only `val` for a run that did not finish.
        sizes: images by split.
        fingerprints: of the data, by split.
        environment: as `environment.json` has it.
        config_yaml: the resolved config.
        origin: the config that it began with; None where that is not known.
        input_hw: of the network, in pixels.
        labels: class names.
    """

    name: str
    task: str
    primary: str
    summary: Mapping[str, Any]
    sizes: Mapping[str, int]
    fingerprints: Mapping[str, str]
    environment: Mapping[str, Any]
    config_yaml: str
    origin: Origin | None
    input_hw: tuple[int, int]
    labels: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return "epochs" in self.summary


def run_page(
    run: RunRecord, figures: Figures, *, history: Sequence[Chart], images: Extremes, costs: Costs, scored_images: int
) -> str:
    """HTML of the whole report.

    Args:
        run: what its folder says.
        figures: of the validation of its best checkpoint.
        history: charts by epoch.
        images: best and worst.
        costs: of the net.
        scored_images: how many images the figures are of.
    """
    sections = [
        Section("scores", "Scores", tuple(_scores(run))),
        *([Section("curves", "Curves", (charts(history),))] if history else []),
        *([Section("choice", _choice_title(run.task), tuple(_choice(figures)))] if figures.charts else []),
        Section("confusion", "Confusion", tuple(_confusion(figures))),
        Section("classes", "Classes", tuple(_classes(figures))),
        *([Section("images", "Images", tuple(_images(figures, images)))] if images.worst else []),
        Section("model", "Model", tuple(_model(run, costs))),
        Section("config", "Config", tuple(_config(run))),
        Section("data", "Data", tuple(_data(run, scored_images))),
        Section("environment", "Environment", tuple(_environment(run))),
    ]
    return page(run.name, _lead(run, costs), sections, footer=_footer(run), style=STYLE)


def _lead(run: RunRecord, costs: Costs) -> list[str]:
    height, width = run.input_hw
    val, primary = run.summary["val"], run.primary
    classes = f"{len(run.labels)} class{'es' if len(run.labels) != 1 else ''}"
    entries = [(primary, f"{val[primary]:.4f}", _best_epoch(run))]
    entries += [
        (name, f"{value:.4f}", "validation") for name, value in list(_overall(val).items())[:2] if name != primary
    ][:1]
    if "test" in run.summary:
        entries.append(
            (f"{primary} on test", f"{run.summary['test'][primary]:.4f}", f"{run.sizes.get('test', 0)} images")
        )
    entries.append(("parameters", f"{costs.parameters / 1e6:.2f} M", f"{costs.weights_bytes / 1e6:.1f} MB"))
    spread = f"PyTorch, one thread, half within {costs.latency.low_ms:.1f}-{costs.latency.high_ms:.1f}"
    entries.append(("latency here", f"{costs.latency.median_ms:.1f} ms", spread))
    if "seconds" in run.summary:
        entries.append(("training", duration_text(run.summary["seconds"]), f"{run.summary['epochs']} epochs"))
    begun = paragraph(f"A network for {run.task}, {classes}, input {width} x {height} pixels.")
    unfinished = "This run has not come to its end: these are figures of its best checkpoint so far."
    return [begun, *([] if run.finished else [warning(unfinished)]), tiles(entries)]


def _best_epoch(run: RunRecord) -> str:
    epoch = run.summary.get("best_epoch")
    return "validation" if epoch is None else f"validation, best after epoch {epoch + 1}"


def duration_text(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds >= 2 * HOUR_S:
        return f"{seconds / HOUR_S:.1f} h"
    return f"{seconds / MINUTE_S:.1f} min" if seconds >= 2 * MINUTE_S else f"{seconds:.0f} s"


def _overall(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if "/" not in name}


def _scores(run: RunRecord) -> list[str]:
    splits = [split for split in ("val", "test") if split in run.summary]
    names = list(_overall(run.summary["val"]))
    rows = [(split, *(_score(run.summary[split].get(name)) for name in names)) for split in splits]
    meaning = (
        f"{run.primary} chose the checkpoint."
        if "test" not in run.summary
        else (f"{run.primary} on val chose the checkpoint; test was looked at once, with that checkpoint.")
    )
    return [table(("split", *names), rows), paragraph(meaning, quiet=True)]


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _choice_title(task: str) -> str:
    return {"detection": "Precision and recall", "classification": "Calibration"}.get(task, "Choices")


def _choice(figures: Figures) -> list[str]:
    return [charts(figures.charts), *(paragraph(text) for text in figures.findings)]


def _confusion(figures: Figures) -> list[str]:
    rows = [(true, predicted, str(count)) for true, predicted, count in figures.confusions]
    mistakes = [
        paragraph("Most frequent mistakes", quiet=True),
        table(("what is there", "taken for", figures.matrix.unit), rows),
    ]
    shown = most_confused(figures.matrix, CLASSES_IN_MATRIX)
    columns = [[matrix_table(shown)], mistakes] if rows else [[matrix_table(shown)]]
    return [paragraph(shown.note, quiet=True), side_by_side(columns)]


def _classes(figures: Figures) -> list[str]:
    rows = figures.class_rows
    shown = table(figures.class_header, rows[:CLASSES_SHOWN])
    if len(rows) <= CLASSES_SHOWN:
        return [paragraph(f"The lowest first. {figures.class_note}", quiet=True), shown]
    every = folded(f"All {len(rows)} classes", [table(figures.class_header, rows)])
    return [
        paragraph(f"The {CLASSES_SHOWN} lowest of {len(rows)} classes. {figures.class_note}", quiet=True),
        shown,
        every,
    ]


def _images(figures: Figures, images: Extremes) -> list[str]:
    sides = " Left the truth, right the answer of the model." if images.worst[0].is_drawn else ""
    said = paragraph(f"{figures.image_score_meaning}{sides}", quiet=True)
    best = [heading("Best"), _pairs(images.best)] if images.best else []
    return [said, heading("Worst"), _pairs(images.worst), *best]


def _pairs(shown: Sequence[ShownImage]) -> str:
    figures = []
    for image in shown:
        pictures = [(image.truth_jpeg, f"{image.image_id} with its truth: {image.truth}")]
        if image.is_drawn:
            pictures.append((image.model_jpeg, f"{image.image_id} with the model's answer: {image.model}"))
        lines = (f"{image.score:.3f}", f"truth: {image.truth}", f"model: {image.model}", image.image_id)
        figures.append(picture_figure(pictures, lines))
    return picture_grid(figures, wide=any(image.is_drawn for image in shown))


def _model(run: RunRecord, costs: Costs) -> list[str]:
    height, width = run.input_hw
    time = costs.latency
    rows = [
        ("parameters", f"{costs.parameters:,}"),
        ("multiplications", f"{costs.multiplications / 1e9:.3f} billion for one image of {width} x {height}"),
        (
            "latency",
            f"{time.median_ms:.1f} ms median, half of {time.runs} calls within {time.low_ms:.1f}-{time.high_ms:.1f} ms",
        ),
        ("weights", f"{costs.weights_bytes / 1e6:.2f} MB"),
        ("checkpoint", f"{costs.checkpoint_bytes / 1e6:.2f} MB, with the optimiser's state and the moving average"),
    ]
    said = (
        f"Latency is that of the checkpoint's predict in PyTorch, one image, float32, one thread of {processor_text(run)}; an "
        "exported file is quicker, and tools/export.py measures it."
    )
    return [table(("", "of the checkpoint"), rows, texts=True), paragraph(said, quiet=True)]


def processor_text(run: RunRecord) -> str:
    """The machine's processor, as far as it is known."""
    return str(run.environment.get("processor") or "this machine's processor")


def _config(run: RunRecord) -> list[str]:
    whole = folded("The resolved config", [preformatted(run.config_yaml)])
    if run.origin is None:
        return [paragraph("The config that it began with is not known any more.", quiet=True), whole]
    if not run.origin.differences:
        return [paragraph(f"Nothing differs from {run.origin.name}, places of data and run left out."), whole]
    differing = [paragraph(f"What differs from {run.origin.name}, places of data and run left out:")]
    return [*differing, table(("key", "this run", run.origin.name), run.origin.differences, texts=True), whole]


def _data(run: RunRecord, scored_images: int) -> list[str]:
    rows = [(split, str(size), run.fingerprints.get(split, "")) for split, size in run.sizes.items()]
    said = f"Figures and images are of {scored_images} validation images."
    return [table(("split", "images", "fingerprint"), rows, texts=True), paragraph(said, quiet=True)]


def _environment(run: RunRecord) -> list[str]:
    environment = run.environment
    git = environment.get("git") or {}
    changed = " with changes that are not committed" if git.get("dirty") else ""
    hardware = environment.get("hardware") or {}
    rows = [
        ("command", " ".join(environment.get("command") or [])),
        ("git commit", f"{git['commit']}{changed}" if git else "not in a repository"),
        ("platform", str(environment.get("platform", ""))),
        ("processor", f"{processor_text(run)}, {environment.get('cores', '?')} cores"),
        ("training", ", ".join(str(hardware[key]) for key in ("accelerator", "precision") if key in hardware)),
        ("Python", str(environment.get("python", ""))),
    ]
    packages = [(name, str(version)) for name, version in (environment.get("packages") or {}).items() if version]
    return [
        table(("", "of the training"), [row for row in rows if row[1]], texts=True),
        folded("Packages", [table(("package", "version"), packages, texts=True)]),
    ]


def _footer(run: RunRecord) -> list[str]:
    return [paragraph(f"Written by CVForge {(run.environment.get('packages') or {}).get('cvforge', '')}.", quiet=True)]
