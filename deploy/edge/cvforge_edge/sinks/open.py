"""Opens the places for results that a user names, and refuses those that would destroy the source."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.errors import UsageError
from cvforge_edge.sinks.jsonl import JsonLines
from cvforge_edge.sources.names import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from cvforge_edge.sinks.rotation import Rotation
    from cvforge_edge.sinks.sink import Sink
    from cvforge_edge.sources.source import Source

logger = logging.getLogger(__name__)


def open_sinks(
    sources: Sequence[Source],
    *,
    save: str | None,
    json_lines: str | None,
    title: str | None,
    stop: threading.Event,
    rotation: Rotation | None = None,
) -> list[Sink]:
    """The sinks for a run, in the order in which they take each result.

    Args:
        sources: where the frames come from.
        save: annotated video, or folder for annotated pictures, of several sources one each (`by_source.place_of`); None
            saves no pictures.
        json_lines: file for JSON Lines, `-` for standard output; None writes none.
        title: of a window; None opens none.
        stop: set when the user closes the window.
        rotation: when videos and the file of JSON Lines are set aside; None for never.

    Raises:
        UsageError: a picture would replace the source, or there is no display.
        StorageError: a file or folder cannot be created.
    """
    places = [] if save is None else _save_places(sources, save)
    for source in sources:
        _check_saves(source, places)
    sinks: list[Sink] = []
    if title is not None:  # in the order of what a failure would leave behind: nothing, a folder, a file
        from cvforge_edge.sinks.window import Window

        titles = [title] if len(sources) == 1 else [f"{title}: {source.name}" for source in sources]
        sinks.append(_one_or_each([Window(title, on_quit=stop.set) for title in titles]))
    if places:
        pairs = list(zip(sources, places, strict=True))
        if rotation is None:
            _warn_of_growth([place for source, place in pairs if source.live])
        sinks.append(_one_or_each([_open_save(place, fps=source.fps, rotation=rotation) for source, place in pairs]))
    if json_lines is not None:
        sinks.append(JsonLines(json_lines, rotation=rotation))
    return sinks


def _warn_of_growth(places: Sequence[str]) -> None:
    from cvforge_edge.sinks.video import VIDEO_SUFFIXES

    for place in places:
        if place.lower().endswith(VIDEO_SUFFIXES):
            logger.warning(
                "%s: the video of a camera grows without end, and with it the index that is held in memory (8 MB an hour at "
                "30 frames/s); --rotate MB bounds both, for runs of days",
                place,
            )


def _open_save(save: str, *, fps: float | None, rotation: Rotation | None = None) -> Sink:
    from cvforge_edge.sinks.images import ImageFolder
    from cvforge_edge.sinks.video import VIDEO_SUFFIXES, VideoSink

    path = Path(save)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSink(path, fps=fps, rotation=rotation)
    if path.suffix and not save.endswith("/") and not path.is_dir():
        raise UsageError(
            f"--save {save}: found the ending {path.suffix!r}; accepted {', '.join(VIDEO_SUFFIXES)} for a video, or a "
            "folder (folder/) for pictures"
        )
    return ImageFolder(path)


def _save_places(sources: Sequence[Source], save: str) -> list[str]:
    if len(sources) == 1:
        return [save]
    from cvforge_edge.sinks.by_source import file_names, place_of
    from cvforge_edge.sinks.video import VIDEO_SUFFIXES

    suffix = Path(save).suffix.lower()
    if suffix and suffix not in VIDEO_SUFFIXES and not save.endswith("/") and not Path(save).is_dir():
        _open_save(save, fps=None)  # refuses it
    return [place_of(save, name, video_suffixes=VIDEO_SUFFIXES) for name in file_names(sources)]


def _one_or_each(sinks: Sequence[Sink]) -> Sink:
    if len(sinks) == 1:
        return sinks[0]
    from cvforge_edge.sinks.by_source import BySource

    return BySource(sinks)


def _check_saves(source: Source, saves: Sequence[str]) -> None:
    """`check_places` of the options knows neither the places of several sources nor the folders of their images."""
    source_path = None if source.live else Path(getattr(source, "path", source.name)).resolve()
    # Annotated pictures keep the names of their images: they may not go where those are.
    is_image = source_path is not None and source_path.suffix.lower() in IMAGE_SUFFIXES
    taken = {source_path, source_path.parent} if source_path is not None and is_image else {source_path}
    for save in saves:
        if Path(save).resolve() in taken:
            raise UsageError(f"--save {save}: would replace the source; save to another place")
