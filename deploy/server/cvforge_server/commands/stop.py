"""`tools/serve.py stop`: end a server and all of its processes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cvforge_server.commands.options import add_server, parser
from cvforge_server.torchserve.process import Running, stop


def main(argv: Sequence[str]) -> int:
    """End the server; 0 also where it had ended before.

    Raises:
        ServerError: none was started there, or its processes cannot be ended.
    """
    options = _parser().parse_args(argv)
    running = Running.read(options.server)
    stop(running)
    sys.stdout.write(f"{options.server}: stopped\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    made = parser("stop", __doc__ or "")
    add_server(made)
    return made
