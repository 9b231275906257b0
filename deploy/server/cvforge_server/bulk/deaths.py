"""Which image kills its worker: noted before each step, so that the next worker can tell, and in the end goes past it.

A decoder that crashes, or an image that takes more memory than there is, ends the process without a word. The notes of a part
say at which image work stood; a worker that finds some takes images one by one, and leaves out those at which `MOST_DEATHS`
processes have ended. A run that is killed as a whole leaves such notes as well, hence more than one.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

MOST_DEATHS = 3
_BEGUN = "begun"


class DeathNotes:
    """The notes of one part, while it is worked on.

    Args:
        path: of the notes; made when they are missing.

    Attributes:
        one_by_one: whether an earlier process ended here, so that images are to be taken alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        with os.fdopen(self._file, "rb", closefd=False) as file:
            self._deaths = _deaths(file.read().decode("ascii", "replace"))
        self.one_by_one = bool(self._deaths)
        self._note(_BEGUN)

    def is_deadly(self, image: int) -> bool:
        """Whether an image must be left out; otherwise notes that it is about to be worked on.

        Args:
            image: its place in the part, from 0; of several at once the first.
        """
        if self._deaths[image] >= MOST_DEATHS:
            return True
        self._note(str(image))
        return False

    def close(self) -> None:
        """This process has outlived the part, or ended it with an error that it could tell: the notes are void."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def _note(self, word: str) -> None:
        os.write(self._file, f"{word}\n".encode())


def _deaths(text: str) -> Counter[int]:
    """How many processes ended at each image: each begins with a line that says so, and its last line is where it stood."""
    ends = [lines.split()[-1] for lines in text.split(_BEGUN)[1:] if lines.split()]
    return Counter(int(end) for end in ends if end.isdecimal())
