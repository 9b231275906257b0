"""`tools/serve.py openapi`: the OpenAPI document of the server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from cvforge_server.commands.options import parser
from cvforge_server.openapi import openapi_document


def main(argv: Sequence[str]) -> int:
    """Print the document; the exit code."""
    options = _parser().parse_args(argv)
    sys.stdout.write(json.dumps(openapi_document(model=options.model), indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    made = parser("openapi", __doc__ or "", examples="example:\n  serve.py openapi --model det_bccd > openapi.json")
    made.add_argument("--model", metavar="NAME", help="under which it is served (default: a parameter of the address)")
    return made
