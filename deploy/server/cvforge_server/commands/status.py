"""`tools/serve.py status`: how the models of a server and their workers are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cvforge_server.commands.options import add_server, parser
from cvforge_server.errors import ServerError
from cvforge_server.torchserve.drift_figures import drift_line, read_drift
from cvforge_server.torchserve.process import Running, token


def main(argv: Sequence[str]) -> int:
    """Say how the server is; 0 where every worker is ready.

    Raises:
        ServerError: there is no server, it has ended or only in part, it does not answer, or a worker is not ready.
    """
    options = _parser().parse_args(argv)
    running = Running.read(options.server)
    if not running.alive:
        running.check_nothing_left()
        raise ServerError(f"{options.server}: the server has ended; its log is in {options.server / 'logs'}")
    if options.token:
        sys.stdout.write(f"{token(running.folder, 'inference')}\n")
        return 0
    states, drift = running.states(), read_drift(running.ports.metrics)
    for state in states:
        told = f"; {drift_line(drift[state.name])}" if state.name in drift else ""
        sys.stdout.write(f"{state.line()}{told}\n")
    unready = [state.name for state in states if not state.ready]
    if unready:
        raise ServerError(f"not ready: {', '.join(unready)}; the log is in {options.server / 'logs'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    made = parser("status", __doc__ or "")
    add_server(made)
    made.add_argument("--token", action="store_true", help="only print the token that clients send")
    return made
