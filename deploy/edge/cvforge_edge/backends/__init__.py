"""Inference runtimes behind one interface; none is imported before it is opened."""

from cvforge_edge.backends.table import BACKENDS, Backend, choose_backend, is_installed, open_backend

__all__ = ["BACKENDS", "Backend", "choose_backend", "is_installed", "open_backend"]
