"""Sessions of one model, each on a thread of its own: exchanged for those of another, replaced where they are stuck or fail."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from cvforge_edge.errors import InferenceError, PictureError, SpecError, WatchdogError
from cvforge_edge.frame import Result
from cvforge_edge.records import dataclass
from cvforge_edge.session import Session, Spare

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8
    from cvforge_edge.inbox import Inbox, Ticket
    from cvforge_edge.latency import LatencyRecorder, PredictTimes
    from cvforge_edge.manifest import Manifest
    from cvforge_edge.outbox import Outbox
    from cvforge_edge.types import Prediction

JOIN_TIMEOUT_S = 0.4

logger = logging.getLogger(__name__)


class FramePredictor(Protocol):
    """The part of `cvforge_edge.predictor.Predictor` that the pipeline uses."""

    @property
    def manifest(self) -> Manifest: ...  # noqa: D102

    @property
    def times(self) -> PredictTimes | None: ...  # noqa: D102

    def predict(self, image_bgr: ImageU8) -> Prediction: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class SessionCare:
    """What is done for sessions while they run.

    Attributes:
        limit_s: a session that works longer on one frame is stuck: it is left behind, and its frame is given up.
        spare: loads a model that takes the place of one that is stuck or failed; None: the run ends instead.
        most_replaced: after so many replacements `within_s` the next such session ends the run.
        within_s: one that is longer ago counts no more: a hiccup a month is no broken driver.
        reloaded: asked a few times a second: models, one for each session, that take over from the next frame on; they are
            closed here. None while there are none.
    """

    limit_s: float = math.inf
    spare: Callable[[], FramePredictor] | None = None
    most_replaced: int = 3
    within_s: float = 3600.0
    reloaded: Callable[[], Sequence[FramePredictor] | None] = _nothing


class Sessions:
    """Takes frames from an inbox and puts results into an outbox until the inbox gives no more."""

    def __init__(
        self,
        predictors: Sequence[FramePredictor],
        *,
        inbox: Inbox,
        outbox: Outbox,
        recorder: LatencyRecorder,
        care: SessionCare,
    ) -> None:
        """Begin to work.

        Args:
            predictors: of one model, each used by one thread at a time; their owner closes them after this.
            inbox: gives frames.
            outbox: takes results.
            recorder: told how long frames were waited for, and predicted.
            care: what is done while they run.
        """
        self._inbox, self._outbox, self._recorder, self._care = inbox, outbox, recorder, care
        self._replaced_s: deque[float] = deque()
        self._owned_elsewhere = tuple(predictors)
        self._sessions = [Session(predictor) for predictor in predictors]
        for session in self._sessions:
            self._start(session)

    @property
    def alive(self) -> bool:
        """Whether a result may still come; a session that failed is yet to be replaced."""
        return any(
            session.failure is not None
            or session.spare is not None
            or (session.thread is not None and session.thread.is_alive())
            for session in self._sessions
        )

    def tend(self) -> None:
        """Replace what is stuck or failed, and let models that were loaded meanwhile take over.

        Raises:
            WatchdogError: a session is stuck or failed, and cannot be replaced.
            InferenceError: it failed, and there are no spare models at all.
        """
        for number, session in enumerate(self._sessions):
            if session.spare is not None:
                self._install(number, session.spare)
                continue
            if session.failure is not None:
                self._replace_failed(number, *session.failure)
                continue
            ticket = session.leave_behind(self._care.limit_s)
            if ticket is not None:
                self._replace_stuck(number, ticket)
        reloaded = self._care.reloaded()
        if reloaded is not None:
            for session, predictor in zip(self._sessions, reloaded, strict=True):
                session.follow(predictor)

    def close(self) -> None:
        """Wait for the frames in work, but for no session that is stuck, and close the models that came later."""
        until_s = time.monotonic() + JOIN_TIMEOUT_S
        for session in self._sessions:
            if session.spare is not None:
                session.spare.close()
            if session.thread is None:
                continue
            session.thread.join(max(0.0, until_s - time.monotonic()))
            if session.thread.is_alive():
                continue
            for predictor in (session.predictor, session.following):
                if predictor is not None and all(predictor is not other for other in self._owned_elsewhere):
                    predictor.close()

    def _replace_stuck(self, number: int, ticket: Ticket) -> None:
        limit_s = self._care.limit_s
        logger.error(
            "%s: inference of frame %d takes longer than %g s; its session is left behind",
            ticket.frame.source,
            ticket.frame.index,
            limit_s,
        )
        self._give_up(ticket)
        self._replace(number, because=f"inference is stuck (limit inference={limit_s:g} s)")

    def _replace_failed(self, number: int, ticket: Ticket, error: InferenceError) -> None:
        """A camera's frame is given up, since a newer one is there by now; a file's is tried once more."""
        if self._care.spare is None:
            raise error
        name, index = ticket.frame.source, ticket.frame.index
        failed = self._sessions[number]
        if ticket is failed.first:
            raise WatchdogError(f"{name}: frame {index}, again with a new session: {error}") from error
        logger.error("%s: frame %d: %s", name, index, error)
        for predictor in (failed.predictor, failed.following):
            if predictor is not None:
                predictor.close()  # a new one may need the room, or the device
        live = self._inbox.sources[ticket.source].live
        if live:
            self._give_up(ticket)
        self._replace(number, because=f"inference failed ({error})", first=None if live else ticket)

    def _give_up(self, ticket: Ticket) -> None:
        self._outbox.skip(ticket)
        self._inbox.finish(ticket)

    def _replace(self, number: int, *, because: str, first: Ticket | None = None) -> None:
        care, replaced_s, now_s = self._care, self._replaced_s, time.monotonic()
        while replaced_s and now_s - replaced_s[0] >= care.within_s:
            replaced_s.popleft()
        if care.spare is None or len(replaced_s) >= care.most_replaced:
            raise WatchdogError(
                f"{because} after {len(replaced_s)} sessions were replaced within {care.within_s / 60:g} minutes; restart the "
                "program, and look at the driver of the hardware that runs the model"
            )
        replaced_s.append(now_s)
        self._sessions[number].spare = Spare(care.spare, because=because, first=first)

    def _install(self, number: int, spare: Spare) -> None:
        if not spare.ready:
            return
        session = Session(spare.take(), first=spare.first)
        session.following, self._sessions[number].following = self._sessions[number].following, None
        self._sessions[number].spare, self._sessions[number] = None, session
        self._start(session)
        logger.warning("a new session takes over (%d of %d)", len(self._replaced_s), self._care.most_replaced)

    def _start(self, session: Session) -> None:
        session.thread = threading.Thread(target=self._work, args=(session,), name="predict", daemon=True)
        session.thread.start()

    def _work(self, session: Session) -> None:
        again = session.first
        while True:
            asked_s = time.monotonic()
            ticket = self._inbox.take() if again is None else again
            again = None
            if ticket is None:
                self._outbox.wake()
                return
            begun_s = time.monotonic()
            try:
                predictor = session.begin(ticket)
                prediction = predictor.predict(ticket.frame.image_bgr)
                times = predictor.times
                result = Result(ticket.frame, prediction, predictor.manifest.labels, camera=ticket.source)
            except PictureError as error:  # a matter of its source; the others go on
                if not session.end():
                    return
                self._inbox.refuse(ticket, error)
                self._give_up(ticket)
                continue
            except (
                InferenceError,
                SpecError,
            ) as error:  # `tend` sees to it; outputs that are none (NaN) are a failure, too
                session.fail(ticket, error if isinstance(error, InferenceError) else InferenceError(str(error)))
                self._outbox.wake()
                return
            except BaseException as error:  # raised again by the calling thread
                if session.end():
                    self._outbox.fail(error)
                return
            if not session.end():
                return
            self._recorder.add("wait", begun_s - asked_s)
            self._recorder.add("queue", begun_s - ticket.frame.captured_s)
            self._recorder.add("predict", time.monotonic() - begun_s)
            if times is not None:
                self._recorder.add_parts(times)
            self._outbox.put(ticket, result)
