"""`tools/serve.py start`: start TorchServe and wait until every worker is ready.

Clients need the token for inference: `serve.py status --token`. TorchServe gets no more security patches from its makers: it
listens on loopback, and only a proxy with TLS and limits of its own should let others reach it (docs/serving.md).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from cvforge_edge.errors import UsageError
from cvforge_server.commands.options import add_server, add_store, count_from, number_from, parser
from cvforge_server.errors import ServerError
from cvforge_server.torchserve.process import Running, log_end, start, stop, wait_ready
from cvforge_server.torchserve.server_files import LOOPBACK, Ports, ServerConfig, archives_in

EXAMPLES = """\
examples:
  serve.py start                               everything in the model store, on ports 8080 to 8084 of loopback
  serve.py start --models det_bccd,cls_clothing --port 9000
  serve.py start --open-inference              with KServe's health addresses and its service by gRPC
  serve.py start --foreground                  for systemd: ends with SIGTERM
  serve.py start --foreground --console        for containers: logs on standard output as well
"""
POLL_S = 0.5


def main(argv: Sequence[str]) -> int:
    """Start the server; the exit code.

    Raises:
        EdgeError: it cannot be started, or is not ready in time; then nothing of it is left.
    """
    options = _options(argv)
    names = [name for name in (options.models or "").split(",") if name]
    config = ServerConfig(
        store=options.store,
        models=archives_in(options.store, names),
        ports=Ports.beginning_at(options.port),
        host=options.host,
        grpc_host=options.grpc_host,
        open_inference=options.open_inference,
        token_days=options.token_days,
        request_mb=options.max_request_mb,
        queue=options.queue,
        heap_mb=options.heap_mb,
        gpus=options.gpus,
        console=options.console,
    )
    _warn_of_memory(config)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    running = start(config, options.server)
    try:
        wait_ready(running, timeout_s=options.wait, say=_say, over=over)
    except BaseException:
        stop(running)
        raise
    for name in running.models:
        sys.stdout.write(f"http://{running.host}:{running.ports.inference}/predictions/{name}\n")
    sys.stdout.write(f"{config.grpc_host}:{running.ports.grpc} by gRPC\n")
    sys.stdout.flush()
    if options.foreground:
        _stay(running, over)
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    options = _parser().parse_args(argv)
    if options.console and not options.foreground:
        raise UsageError("--console: belongs to --foreground; without it the logs are in files, see docs/serving.md")
    return options


def _stay(running: Running, over: threading.Event) -> None:
    while not over.wait(POLL_S):
        if not running.alive:
            stop(running)
            raise ServerError(f"the server ended by itself\n{log_end(running.folder)}")
    stop(running)


def _warn_of_memory(config: ServerConfig) -> None:
    if config.waiting_mb > config.heap_mb:
        _say(
            f"warning: {len(config.models)} full queues of {config.queue} requests of {config.request_mb:g} MB take "
            f"{config.waiting_mb:g} MB, and the server ends beyond --heap-mb {config.heap_mb}; choose a lower --queue or "
            "--max-request-mb, or more memory, unless your requests are smaller"
        )


def _say(text: str) -> None:
    if text:
        sys.stderr.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    made = parser("start", __doc__ or "", examples=EXAMPLES)
    add = made.add_argument
    add_store(made)
    add("--models", metavar="NAMES", help="archives of the store, separated by commas (default: all)")
    add_server(made)
    port_help = "five in a row: HTTP, gRPC, and on loopback management, metrics, gRPC management (default 8080)"
    add("--port", type=count_from(1, 65531), default=8080, metavar="P", help=port_help)
    host_help = f"address for clients (default {LOOPBACK}); another one only behind a firewall or proxy"
    add("--host", default=LOOPBACK, metavar="ADDRESS", help=host_help)
    grpc_help = f"likewise by gRPC (default {LOOPBACK})"
    add("--grpc-host", default=LOOPBACK, metavar="ADDRESS", help=grpc_help)
    oip_help = (
        "also what TorchServe itself has of KServe's protocol: GET /v2/health/ready, and GRPCInferenceService, which takes ten "
        "times a request's size of the heap (POST /v2/models/NAME/infer is always there)"
    )
    add("--open-inference", action="store_true", help=oip_help)
    add("--token-days", type=count_from(1, 3650), default=365, metavar="N", help="validity of tokens (default 365)")
    add(
        "--max-request-mb", type=number_from(0.001, 2000), default=30, metavar="MB", help="largest request (default 30)"
    )
    queue_help = "requests that may wait for the workers of a model; further ones get 503 (default 20)"
    add("--queue", type=count_from(1, 100000), default=20, metavar="N", help=queue_help)
    heap_help = (
        "memory of TorchServe itself, in MB, where requests wait: without enough it ends; as much again is for bodies "
        "that arrive, which get 507 or are cut off beyond that (default 1200, enough for the full queue of one model)"
    )
    add("--heap-mb", type=count_from(64, 1_000_000), default=1200, metavar="MB", help=heap_help)
    add("--gpus", type=count_from(0, 64), default=0, metavar="N", help="that workers are spread over (default 0)")
    add("--wait", type=number_from(1, 3600), default=120, metavar="S", help="until all workers are ready (default 120)")
    console_help = (
        "logs of the server and JSON lines of its workers on standard output, beside their files; for containers"
    )
    add("--console", action="store_true", help=console_help)
    add("--foreground", action="store_true", help="stay until SIGTERM or Ctrl-C, and end the server then")
    return made
