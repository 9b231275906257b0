"""A whole run of `run_camera.py`: what its options ask for, opened in the order in which it may fail, run, and closed."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import cv2

from cvforge_edge.arrangement import Arrangement
from cvforge_edge.checked_bundle import accept, open_checked_bundle, say, self_test
from cvforge_edge.cli import INTERRUPTED
from cvforge_edge.evidence.options import open_evidence
from cvforge_edge.model_options import arrange, open_predictors
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.progress import Progress
from cvforge_edge.rest_of_bundle import RestOfBundle
from cvforge_edge.running_model import RunningModel
from cvforge_edge.sinks.open import open_sinks
from cvforge_edge.source_options import frames_to_come, open_sources, source_settings
from cvforge_edge.starting_board import model_fields, starting_board
from cvforge_edge.step_options import plan_steps, usual_score
from cvforge_edge.supervision import supervised
from cvforge_edge.web.options import open_web_sinks

if TYPE_CHECKING:
    from cvforge_edge.bundle import Bundle
    from cvforge_edge.pipeline import RunSummary
    from cvforge_edge.sessions import FramePredictor
    from cvforge_edge.sinks.sink import Sink
    from cvforge_edge.steps.step import Step


logger = logging.getLogger(__name__)


class CameraRun:
    """Sources, model, steps and sinks of one run; a reload exchanges the model.

    Args:
        options: of `camera_options`.
        bundle: checked as the options ask for.
        backend: name of the backend that runs it; None for the preferred one.
        resources: closes what is opened here.

    Raises:
        EdgeError: no model fits, a source does not open, a sink cannot be created, or options do not go together.
    """

    def __init__(
        self, options: argparse.Namespace, bundle: Bundle, *, backend: str | None, resources: contextlib.ExitStack
    ) -> None:
        cv2.setNumThreads(1)  # resizing a frame is too short to share; --threads is for the network
        self._options, self._resources = options, resources
        self._stop = threading.Event()
        settings = source_settings(options)
        self._plan = plan_steps(options, bundle.manifest)
        # First, since it fails where no model fits: a camera may take long to answer.
        self._board = starting_board(bundle, backend=backend, precision=options.precision)
        self._sources = resources.enter_context(open_sources(options.source, settings))
        self._names = [source.name for source in self._sources]
        self._plan.check_sources(self._names)
        self._live = any(source.live for source in self._sources)
        self._steps = [self._plan.steps_for(name) for name in self._names]
        self._exchange = threading.Lock()
        self._model = RunningModel(bundle, backend=backend, precision=options.precision)
        resources.callback(lambda: self._model.close())  # whichever runs by then
        self._arrangement = arrange(options, self._model, self._sources, say=lambda text: say(options, text))
        self._evidence = open_evidence(options, bundle, names=self._names)
        if self._evidence is not None:
            resources.callback(self._evidence.close)
        self._predictors = self._load(self._model, self._arrangement, warm_up=self._live)
        for predictor in self._predictors:
            resources.callback(predictor.close)
        accept(options, bundle)
        self._sinks = self._open_sinks()

    def go(self) -> int:
        """Run until the sources end or somebody says stop; the exit code.

        Raises:
            EdgeError: a source, the model or a sink fails, or a limit was passed.
        """
        options = self._options
        progress = Progress(sys.stderr, total=frames_to_come(self._sources, options.max_frames))
        if self._live or len(self._sources) > 1:  # called last, also after an error
            self._resources.callback(self._say_cameras)
        gc.freeze()  # what a start has made stays: no collection looks through it, now or later
        gc.enable()
        with contextlib.closing(progress), RestOfBundle(self._model.bundle, on_problem=self._stop.set) as rest:
            summary = self._run(progress)
            rest.finish(wait=not self._stop.is_set())
        say(options, "\n".join([*summary.lines(), *(f"  {sink.summary()}" for sink in self._sinks)]))
        return INTERRUPTED if summary.interrupted and not options.show else 0

    def spare(self) -> FramePredictor:
        """One more of the model that runs, from the very bytes that were checked, whatever lies in its folder by now.

        Raises:
            EdgeError: it cannot be loaded.
        """
        with contextlib.ExitStack() as keeping:
            with self._exchange:
                model = keeping.enter_context(self._model.kept())
            return self._load(model, Arrangement(1, self._arrangement.threads), warm_up=True)[0]

    def load_again(self) -> list[FramePredictor]:
        """The bundle as it is now, checked and tested like at the start: one model for each session.

        It then is the running one, and the steps go by its score threshold.

        Raises:
            EdgeError: it does not pass, or it is a model of another task or other labels.
        """
        from cvforge_edge.reload import check_exchangeable

        options, bundle = self._options, open_checked_bundle(self._options)
        check_exchangeable(self._model.bundle.manifest, bundle.manifest)
        backend = self_test(options, bundle) if options.self_test else options.backend
        with contextlib.ExitStack() as on_error:
            model = RunningModel(bundle, backend=backend, precision=options.precision)
            on_error.callback(model.close)
            predictors = self._load(model, self._arrangement, warm_up=True)
            for predictor in predictors:
                on_error.callback(predictor.close)
            accept(options, bundle)
            on_error.pop_all()
        with self._exchange:
            before, self._model = self._model, model
        before.close()
        plan = replace(self._plan, score_threshold=usual_score(options, bundle.manifest.postprocess))
        plan.retune(chain.from_iterable(self._steps))
        self._board.update(**model_fields(bundle, backend=backend, precision=options.precision))
        return predictors

    def _load(self, model: RunningModel, arrangement: Arrangement, *, warm_up: bool) -> list[FramePredictor]:
        watched = None if self._evidence is None else self._evidence.watched
        return open_predictors(self._options, model, arrangement, warm_up=warm_up, watched=watched)

    def _open_sinks(self) -> list[Sink]:
        """Web pages last: what another sink has drawn is not drawn again."""
        options, resources = self._options, self._resources
        pages = open_web_sinks(options, self._board, cameras=len(self._sources), resources=resources)
        outputs = options.outputs.open(resources=resources)
        local = open_sinks(
            self._sources,
            save=options.save,
            json_lines=options.json,
            title=self._model.bundle.manifest.name if options.show else None,
            stop=self._stop,
            rotation=options.outputs.rotation,
        )
        for page in pages:
            if page.made_token is not None or not options.quiet:
                sys.stderr.write(f"{page.greeting}\n")
            if options.log is not None:
                logger.info("web page: %s", page.url)
        return [*local, *outputs, *([] if self._evidence is None else [self._evidence]), *pages]

    def _run(self, progress: Progress) -> RunSummary:
        options, board, stop = self._options, self._board, self._stop
        with supervised(options, board=board, stop=stop, spare=self.spare, reload=self.load_again) as care:
            return run_pipeline(
                self._sources,
                self._predictors,
                sinks=self._sinks,
                stop=stop,
                steps=[self._steps_of(number) for number in range(len(self._sources))],
                max_frames=options.max_frames,
                on_frame=None if options.quiet else progress.update,
                board=board,
                care=care,
            )

    def _steps_of(self, number: int) -> Sequence[Step]:
        return [*self._steps[number], *([] if self._evidence is None else [self._evidence.step(number)])]

    def _say_cameras(self) -> None:
        say(self._options, "\n".join(camera.line() for camera in self._board.snapshot().cameras))
