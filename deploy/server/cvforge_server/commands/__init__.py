"""The commands of tools/serve.py."""
