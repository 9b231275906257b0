"""Another bundle while the cameras go on: loaded beside the running one, and taken over only if it is as good."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cvforge_edge.errors import BundleError, EdgeError
from cvforge_edge.systemd import notify, notify_reloading

if TYPE_CHECKING:
    from cvforge_edge.manifest import Manifest
    from cvforge_edge.sessions import FramePredictor

logger = logging.getLogger(__name__)


class Reloader:
    """Loads a bundle on a thread of its own when it is asked to.

    Args:
        load: checks and opens the bundle, one model for each session; raises what is wrong with it.
        is_ready: whether systemd knows that the run has begun; before, it would take the end of a reload for that.
    """

    def __init__(self, load: Callable[[], Sequence[FramePredictor]], *, is_ready: Callable[[], bool]) -> None:
        self._load, self._is_ready = load, is_ready
        self._lock = threading.Lock()
        self._ready: Sequence[FramePredictor] | None = None
        self._busy = False
        self._again = False

    def request(self) -> None:
        """Begin to load; a request while another one is under way is carried out after it."""
        with self._lock:
            if self._busy:
                self._again = True
                return
            self._busy = True
        threading.Thread(target=self._run, name="reload", daemon=True).start()

    def take(self) -> Sequence[FramePredictor] | None:
        """The models that were loaded, once; None while there are none."""
        with self._lock:
            ready, self._ready = self._ready, None
        return ready

    def close(self) -> None:
        """Free what nobody took."""
        for predictor in self.take() or ():
            predictor.close()

    def _run(self) -> None:
        while True:
            ready = self._is_ready()
            if ready:
                notify_reloading()
            try:
                self._load_once()
            except EdgeError as error:
                logger.error("reload refused, the old model goes on: %s", error)
            except Exception:  # whatever it is, the camera goes on
                logger.exception("reload failed, the old model goes on")
            if ready:
                notify("READY=1")
            with self._lock:
                if not self._again:
                    self._busy = False
                    return
                self._again = False

    def _load_once(self) -> None:
        predictors = self._load()
        with self._lock:
            skipped, self._ready = self._ready, predictors
        for predictor in skipped or ():
            predictor.close()
        manifest = predictors[0].manifest
        logger.warning("reloaded: %s version %d takes over", manifest.name, manifest.version)


def check_exchangeable(running: Manifest, offered: Manifest) -> None:
    """Outputs and rules are set up for one task and its labels: refuse a model of another.

    Raises:
        BundleError: task or labels differ.
    """
    problems = []
    if offered.task != running.task:
        problems.append(f"task: found {offered.task.value}, running {running.task.value}")
    if offered.labels != running.labels:
        problems.append(f"labels: found {', '.join(offered.labels)}, running {', '.join(running.labels)}")
    if problems:
        raise BundleError(
            f"{'; '.join(problems)}: outputs and rules are set up for those that run; restart the program"
        )
