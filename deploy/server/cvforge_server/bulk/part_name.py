"""How the pieces of a folder of results are called."""

from __future__ import annotations

import re

from cvforge_edge.records import dataclass

LISTS, PARTS = "lists", "parts"
SUFFIX = ".parquet"
_LIST_FILE = re.compile(r"list-(\d{5})\.parquet")


@dataclass(frozen=True)
class PartName:
    """Stands for the images of one row group of a list, and for the file with their results.

    Attributes:
        list_number: of the list, from 0.
        number: of the row group, from 0.
    """

    list_number: int
    number: int

    @property
    def file(self) -> str:
        """Of the results, inside the folder `parts`."""
        return f"part-{self.list_number:05}-{self.number:06}{SUFFIX}"

    @property
    def notes(self) -> str:
        """Of the one who works on it (`deaths`), beside the results."""
        return f".{self.file}.notes"


def list_file(number: int) -> str:
    """The name of a list inside the folder `lists`."""
    return f"list-{number:05}{SUFFIX}"


def list_number(file: str) -> int | None:
    """The number of a list by its file's name; None where it is none."""
    match = _LIST_FILE.fullmatch(file)
    return int(match[1]) if match else None
