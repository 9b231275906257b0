"""CVForge trains vision models and proves that they survive the way to the device."""

__version__ = "0.1.0"
