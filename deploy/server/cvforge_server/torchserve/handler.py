"""TorchServe's way into the serving core: it must hold exactly one class, and nothing else of ours."""

from cvforge_server.torchserve.shell import TorchServeShell


class Handler(TorchServeShell):
    """See `TorchServeShell`."""
