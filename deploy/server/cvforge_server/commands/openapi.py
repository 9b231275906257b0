"""`tools/serve.py openapi`: the OpenAPI document of the server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cvforge_edge.errors import UsageError
from cvforge_server.commands.options import count_from, parser
from cvforge_server.openapi import openapi_document
from cvforge_server.torchserve.process import Running
from cvforge_server.torchserve.server_files import LOOPBACK

USUAL_PORT = 8080
EXAMPLES = """\
examples:
  serve.py openapi --model det_bccd > openapi.json
  serve.py openapi --server serving/server         with the address of the server that was started there
  serve.py openapi --host models.example.com --port 80
"""


def main(argv: Sequence[str]) -> int:
    """Print the document; the exit code.

    Raises:
        UsageError: the address is given twice.
        ServerError: no server was started in that folder.
    """
    options = _parser().parse_args(argv)
    document = openapi_document(model=options.model, url=_url(options))
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0


def _url(options: argparse.Namespace) -> str:
    if options.server is None:
        return f"http://{options.host or LOOPBACK}:{options.port or USUAL_PORT}"
    if options.host or options.port:
        raise UsageError(
            "--server: found --host or --port beside it, accepted one of both; the folder knows its address"
        )
    running = Running.read(options.server)
    return f"http://{running.host}:{running.ports.inference}"


def _parser() -> argparse.ArgumentParser:
    made = parser("openapi", __doc__ or "", examples=EXAMPLES)
    server_help = "the document names the server that was started there, as `serve.py start --server` has it"
    made.add_argument("--server", type=Path, metavar="FOLDER", help=server_help)
    made.add_argument("--host", metavar="ADDRESS", help=f"or the server of this address (default {LOOPBACK})")
    made.add_argument("--port", type=count_from(1, 65535), metavar="P", help=f"and port (default {USUAL_PORT})")
    made.add_argument("--model", metavar="NAME", help="under which it is served (default: a parameter of the address)")
    return made
