"""Small files of a bundle, read without following links, waiting for pipes or filling the memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_plain_file(path: Path | str, *, limit_bytes: int) -> bytes:
    """The whole content of a small file.

    Args:
        path: of the file; a link at its end is refused, folders on the way may be links.
        limit_bytes: longest content that is accepted.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a link, a folder, a pipe or a device, unreadable, or longer than the limit; the text is the reason.
    """
    try:
        # A pipe without a writer would keep us waiting for ever, hence O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "is a link; a bundle holds plain files" if Path(path).is_symlink() else error.strerror
        raise ValueError(f"cannot be read ({reason})") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    if len(data) > limit_bytes:
        raise ValueError(f"larger than {limit_bytes} bytes")
    return data
