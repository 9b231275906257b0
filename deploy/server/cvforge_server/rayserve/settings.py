"""What a replica is told beside its bundle: the `args` of an application in Ray's configuration."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cvforge_edge.backends import BACKENDS
from cvforge_edge.errors import UsageError
from cvforge_edge.evidence.drift import JUDGE_EVERY_S
from cvforge_edge.listed_files import PRECISIONS
from cvforge_edge.records import dataclass
from cvforge_server.commands.options import count_from, number_from
from cvforge_server.images import LARGEST_ANSWER_MB, Limits

BUNDLE = "bundle"


@dataclass(frozen=True)
class Settings:
    """How a model is served; the names mean what the options of `tools/serve.py archive` and `start` mean.

    Attributes:
        backend: a name in `cvforge_edge.backends.BACKENDS`.
        precision: `fp32`, `fp16` or `int8`; None for the bundle's first that fits.
        threads: processor threads of one call of the network.
        batch_size: images that one forward pass takes at most, and requests that are gathered for it; above 1 the bundle needs
            the batch form of the model, which pays on a GPU and not on a processor.
        batch_delay_ms: how long a request waits for others to be gathered.
        max_images: in one request.
        max_mb: of one image, in MB of 10^6 bytes.
        max_megapixels: of one image, as its header says.
        max_answer_mb: of the answer to a request, as it is sent.
        max_request_mb: of the body of a request.
        longest_call_s: of the network thread, for one request or those that were gathered: a replica whose call takes longer is
            taken for hung, and replaced.
        drift_every_s: so often a replica compares what it was asked with the reference of the bundle; 0 for never.
        trust: absolute path of a folder of *.pub files, or of one: only what they have signed; None for any bundle.
    """

    backend: str = "onnxruntime"
    precision: str | None = None
    threads: int = 1
    batch_size: int = 1
    batch_delay_ms: int = 5
    max_images: int = 16
    max_mb: float = 20.0
    max_megapixels: float = 50.0
    max_answer_mb: float = 50.0
    max_request_mb: float = 50.0
    longest_call_s: float = 120.0
    drift_every_s: float = JUDGE_EVERY_S
    trust: str | None = None

    @classmethod
    def read(cls, args: Mapping[str, Any]) -> Settings:
        """From the `args` of a configuration, or from text as `serve run ... NAME=VALUE` gives it.

        Raises:
            UsageError: an unknown name or a wrong value; the message lists every one.
        """
        problems, values = [], {}
        for name, value in args.items():
            reader = _READERS.get(name)
            if reader is None:
                problems.append(f"args: found {name!r}, accepted {', '.join((BUNDLE, *_READERS))}{_near(name)}")
                continue
            try:
                values[name] = reader(str(value))
            except (argparse.ArgumentTypeError, ValueError) as error:
                problems.append(f"args: {name}: {error}")
        if problems:
            raise UsageError("\n".join(problems))
        return cls(**values)

    @property
    def limits(self) -> Limits:
        """As the core takes them."""
        return Limits(self.max_images, self.max_mb, self.max_megapixels, self.max_answer_mb)


def absolute_path(text: str) -> str:
    """A path that is the same for every process of a cluster.

    Raises:
        ValueError: it is relative: replicas run in folders of Ray's.
    """
    if not Path(text).is_absolute():
        raise ValueError(f"found {text!r}, accepted an absolute path that every machine of the cluster reaches")
    return text


def _near(name: str) -> str:
    close = difflib.get_close_matches(str(name), (BUNDLE, *_READERS), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"found {text!r}, accepted {', '.join(names)}")
        return text

    return read


_READERS: dict[str, Callable[[str], Any]] = {
    "backend": _one_of(*BACKENDS),
    "precision": _one_of(*PRECISIONS),
    "threads": count_from(1, 256),
    "batch_size": count_from(1, 256),
    "batch_delay_ms": count_from(1, 10_000),
    "max_images": count_from(1, 1000),
    "max_mb": number_from(0.001, 1000),
    "max_megapixels": number_from(0.001, 1000),
    "max_answer_mb": number_from(0.001, LARGEST_ANSWER_MB),
    "max_request_mb": number_from(0.001, 10_000),
    "longest_call_s": number_from(1, 100_000),
    "drift_every_s": number_from(0, 86400),
    "trust": absolute_path,
}
"""By name: how a value is read."""
assert set(_READERS) == {field.name for field in fields(Settings)}
