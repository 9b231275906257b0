"""The device side of CVForge: everything that training and device must agree on, without torch."""

__version__ = "0.1.0"
