"""Errors of the trainer, each with the exit code that a command ends with.

The device's own errors (`cvforge_edge.errors`) carry `exit_code` in the same way; the codes never overlap in meaning.
"""


class CVForgeError(Exception):
    """Anything that CVForge reports to its user instead of a traceback."""

    exit_code = 1


class ConfigError(CVForgeError):
    """A config, an override or a command-line argument is wrong; the message lists every problem found."""

    exit_code = 2


class ExportBudgetError(CVForgeError):
    """An exported file loses more of the task's metric, or of tensor parity, than its budget allows."""

    exit_code = 3


class DataError(CVForgeError):
    """A data set is missing, empty or inconsistent."""

    exit_code = 4


class CheckpointError(CVForgeError):
    """A checkpoint or weights file is missing, damaged, or belongs to another model or task."""

    exit_code = 5


class RunExistsError(CVForgeError):
    """A run folder already holds a run, and nothing in it may be overwritten."""

    exit_code = 6


class StorageError(CVForgeError):
    """Something could not be written, for instance because the disk is full; what was there before is intact."""

    exit_code = 10


class ExportError(CVForgeError):
    """A model cannot be converted to the requested format."""

    exit_code = 12


class DivergedError(CVForgeError):
    """The loss became NaN or infinite: the weights are lost, and earlier checkpoints are what remains."""


class InterruptedRunError(CVForgeError):
    """Training was stopped by Ctrl-C or SIGTERM; a checkpoint to resume from was written."""

    exit_code = 130


class TuningError(CVForgeError):
    """None of the first trials of a search succeeded, or its processes cannot run."""

    exit_code = 15
