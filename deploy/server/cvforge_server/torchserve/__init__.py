"""The serving core inside TorchServe: its handler, archives, configuration, and the server's process."""
