"""The command line's options about the web page, and the sink that they ask for."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import ExitStack

    from cvforge_edge.status import StatusBoard
    from cvforge_edge.web.sink import WebSink

DEFAULT_ADDRESS = "127.0.0.1:8080"


def add_web_options(group: argparse._ArgumentGroup) -> None:
    """Add `--web` and `--web-token`."""
    group.add_argument(
        "--web",
        nargs="?",
        const=DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help=f"web page with live pictures, graphs, events and Prometheus metrics; alone: {DEFAULT_ADDRESS}, this device only; "
        "0.0.0.0:8080 for its network, with a token that is printed",
    )
    group.add_argument(
        "--web-token",
        metavar="FILE",
        help="file with the token that --web asks for (or CVFORGE_WEB_TOKEN in the environment)",
    )


def open_web_sinks(
    options: argparse.Namespace, board: StatusBoard, *, cameras: int, resources: ExitStack
) -> list[WebSink]:
    """The page that the options ask for; none where they ask for none.

    Args:
        options: with `web` and `web_token`.
        board: the status of the run.
        cameras: how many there are.
        resources: closes it.

    Raises:
        UsageError: address or token are not usable.
    """
    if options.web is None:
        return []
    from cvforge_edge.web.sink import open_web

    page = open_web(options.web, token_file=options.web_token, environment=os.environ, board=board, cameras=cameras)
    resources.callback(page.close)
    return [page]
