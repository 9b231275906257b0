"""Errors of the device runtime, each with the exit code that a command ends with."""


class EdgeError(Exception):
    """Anything that the device runtime reports to its user instead of a traceback."""

    exit_code = 1


class SpecError(EdgeError, ValueError):
    """A value breaks the contract of a type: wrong shape, dtype, range or name."""

    exit_code = 2


class UsageError(EdgeError):
    """An option, or a pair of options, asks for what cannot be done on this machine."""

    exit_code = 2


class PictureError(UsageError):
    """A picture has no such part as an option asks for; another source, or another picture, may have it."""


class RulesError(EdgeError):
    """A rules file cannot be read, or says what cannot be meant."""

    exit_code = 2


class ImageError(EdgeError):
    """An image file is missing, truncated or not an image."""

    exit_code = 4


class BundleError(EdgeError):
    """A bundle is incomplete, altered, or written for another version of the runtime."""

    exit_code = 7


class SignatureError(BundleError):
    """A bundle is not signed by a key that the device trusts for this model, or is older than what it has accepted."""


class TakenError(EdgeError):
    """A folder or file is to be written where there is something already; nothing was changed."""

    exit_code = 6


class SourceError(EdgeError):
    """A camera, stream, video or folder cannot be opened or has no frames."""

    exit_code = 8


class SelfTestError(EdgeError):
    """The device does not reproduce the golden vectors of a bundle."""

    exit_code = 9


class StorageError(EdgeError):
    """A result cannot be written, for instance because the disk is full."""

    exit_code = 10


class BackendError(EdgeError):
    """An inference runtime is not installed or cannot run a model file."""

    exit_code = 11


class InferenceError(BackendError):
    """A loaded model failed at one input: hardware that went away, memory that was short for a moment."""


class WatchdogError(EdgeError):
    """A run is not well any more, for instance passed a limit of memory, and was ended so that it can be started anew."""

    exit_code = 13
