"""Draws and lists what a run or a bundle sees in images or a video, through the device's own pipeline."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from cvforge.commands.model import OpenedModel
from cvforge.commands.terminal import stage_bars
from cvforge.errors import ConfigError, StorageError
from cvforge_edge.camera import open_source, source_kind
from cvforge_edge.cli import stop_on_signals
from cvforge_edge.pipeline import RunSummary, run_pipeline
from cvforge_edge.sinks.open import open_sinks

JSON_NAME = "predictions.jsonl"
VIDEO_NAME = "annotated.mp4"
PICTURE_FOLDER = "annotated"


@dataclass(frozen=True)
class Predicted:
    """What was made.

    Attributes:
        summary: counts and times.
        lines: where the results are, for the user.
    """

    summary: RunSummary
    lines: tuple[str, ...]


def predict_source(
    model: OpenedModel,
    source_text: str,
    *,
    output: Path,
    score_threshold: float | None = None,
    max_frames: int | None = None,
) -> Predicted:
    """Run a model over a source and write pictures or a video, and JSON Lines, into a folder.

    Args:
        model: from `open_model`.
        source_text: image, folder of images, video, camera or stream.
        output: folder; made when it is missing.
        score_threshold: detection only; instead of the model's own.
        max_frames: stop after so many frames.

    Raises:
        ConfigError: the threshold is given for another task than detection.
        EdgeError: the source cannot be read, or a result cannot be written.
    """
    predictor = model.predictor
    if score_threshold is not None:
        spec = predictor.manifest.postprocess
        if not spec.kind.startswith("detection"):
            raise ConfigError(
                f"--score-threshold: only for detection; {model.name} is for {predictor.manifest.task.value}"
            )
        predictor = predictor.with_postprocess(replace(spec, score_threshold=score_threshold))
    is_pictures = source_kind(source_text) in ("image", "folder")
    stop = threading.Event()
    with open_source(source_text) as source:
        _make_folder(output)
        save = output / PICTURE_FOLDER if is_pictures else output / VIDEO_NAME
        sinks = open_sinks(
            [source],
            save=f"{save}/" if is_pictures else str(save),
            json_lines=str(output / JSON_NAME),
            title=None,
            stop=stop,
        )
        total = min((n for n in (source.frame_count, max_frames) if n is not None), default=None)
        with stage_bars() as stages, stop_on_signals(stop):
            show = stages(f"predict {source.name}")
            summary = run_pipeline(
                [source],
                [predictor],
                sinks=sinks,
                stop=stop,
                max_frames=max_frames,
                on_frame=lambda done: show(done, max(done, total or done)),
            )
    return Predicted(summary, tuple(sink.summary() for sink in sinks))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--output {folder}: the folder cannot be made ({error.strerror})") from error
