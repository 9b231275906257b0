"""What keeps a run up for days: limits, reloading, and telling systemd; one context around the pipeline."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from cvforge_edge.cli import call_on_hangup, stop_on_signals
from cvforge_edge.option_types import limit
from cvforge_edge.watchdog import Limits, Watchdog

if TYPE_CHECKING:
    from cvforge_edge.sessions import FramePredictor, SessionCare
    from cvforge_edge.status import StatusBoard


def add_supervision_options(group: argparse._ArgumentGroup) -> None:
    """Limits of the watchdog and the log."""
    default = Limits()
    limit_help = (
        f"end the run with code 13 when it is not well: inference=SECONDS (default {default.inference:g}; the session is "
        f"replaced first), write=SECONDS (default {default.write:g}), silence=SECONDS without a result, memory=MB; repeat it"
    )
    group.add_argument("--limit", type=limit, action="append", default=[], metavar="NAME=VALUE", help=limit_help)
    log_help = "log to a file instead of standard error: 1 MB, and three older ones beside it"
    group.add_argument("--log", metavar="FILE", help=log_help)


@contextmanager
def supervised(
    options: argparse.Namespace,
    *,
    board: StatusBoard,
    stop: threading.Event,
    spare: Callable[[], FramePredictor],
    reload: Callable[[], Sequence[FramePredictor]],
) -> Iterator[SessionCare]:
    """Signals, limits and reloading while a pipeline runs inside.

    SIGINT and SIGTERM set `stop`, and so does SIGHUP where it says that the terminal was closed; otherwise SIGHUP loads the
    bundle again, and its models take over without the cameras noticing.

    Args:
        options: with `limit`.
        board: of the run.
        stop: of the run.
        spare: loads one more model of the running bundle.
        reload: loads the bundle again, one model for each session.

    Raises:
        WatchdogError: at the end, when a limit was passed.
    """
    from cvforge_edge.reload import Reloader
    from cvforge_edge.sessions import SessionCare

    limits = Limits(**dict(options.limit))
    with (
        closing(Reloader(reload, is_ready=lambda: watchdog.ready)) as reloader,
        Watchdog(board, limits, stop=stop) as watchdog,
        stop_on_signals(stop),
        call_on_hangup(reloader.request, terminal_closed=stop.set),
    ):
        yield SessionCare(limit_s=limits.inference, spare=spare, reloaded=reloader.take)
    watchdog.raise_failure()
