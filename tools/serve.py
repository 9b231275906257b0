"""Serve bundles with TorchServe: make archives of them, start the server, ask how it is, stop it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

try:
    import cvforge_edge  # noqa: F401
    import cvforge_server  # noqa: F401
except ModuleNotFoundError:  # a server needs neither torch's trainer nor an installation: this checkout is enough
    DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
    sys.path[:0] = [str(DEPLOY / "edge"), str(DEPLOY / "server")]

from cvforge_edge.cli import run_command

COMMANDS = {name: f"cvforge_server.commands.{name}" for name in ("archive", "start", "status", "stop", "openapi")}
"""The module of each command; it has `main(argv) -> exit code`."""
EXAMPLES = """\
commands (each has its own --help):
  archive   put a bundle and the code that serves it into a model store
  start     start TorchServe on loopback and wait until every worker is ready
  status    how the models and their workers are; code 14 where one is not ready
  stop      end the server and all of its processes
  openapi   what the server takes and says, for other programs

examples:
  python tools/export.py --run runs/det_bccd-20261123-101500 --output bundles/det_bccd
  python tools/serve.py archive --bundle bundles/det_bccd --workers 2
  python tools/serve.py start
  curl -H "Authorization: Bearer $(python tools/serve.py status --token)" -T photo.jpg http://127.0.0.1:8080/predictions/det_bccd
  python tools/serve.py stop

exit codes:
  0 done     2 command line     6 archive is there already     7 bundle     10 cannot write     11 inference runtime
  14 server not started, not reached or not ready     130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; the exit code."""
    arguments = _parser().parse_args(argv)
    run: Callable[[Sequence[str]], int] = importlib.import_module(COMMANDS[arguments.command]).main
    return run(arguments.rest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serve.py",
        usage="%(prog)s COMMAND [options]",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=tuple(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="options of the command")
    return parser


if __name__ == "__main__":
    raise SystemExit(run_command(main))
