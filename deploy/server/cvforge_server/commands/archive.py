"""`tools/serve.py archive`: put a bundle and the code that serves it into a model store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cvforge_edge.backends import BACKENDS
from cvforge_edge.bundle import open_bundle
from cvforge_edge.evidence.reference import read_reference
from cvforge_edge.listed_files import PRECISIONS
from cvforge_edge.predictor import choose_model
from cvforge_edge.trust import read_optional_trust
from cvforge_server.commands.options import add_store, count_from, number_from, parser, renamed_to
from cvforge_server.images import LARGEST_ANSWER_MB, Limits
from cvforge_server.torchserve.model_config import ModelConfig

EXAMPLES = """\
examples:
  serve.py archive --bundle bundles/det_bccd --workers 2
  serve.py archive --bundle bundles/det_bccd --name det_gpu --backend onnxruntime-cuda --batch-size 8

The archive is whole: its server needs TorchServe, numpy, OpenCV and the inference runtime, and nothing of CVForge.
"""


def main(argv: Sequence[str]) -> int:
    """Make the archive; the exit code.

    Raises:
        EdgeError: the bundle is damaged or has no such model, or the archive cannot be written.
    """
    options = _parser().parse_args(argv)
    bundle = open_bundle(options.bundle, trust=read_optional_trust(options.trust))
    config = _config(options)
    choose_model(bundle, backend=config.backend, precision=config.precision, batch=config.batch_size > 1)
    from cvforge_server.torchserve.archive import build_archive

    name = options.name or bundle.manifest.name
    read_reference(bundle)  # what would end every worker is said here
    made = build_archive(bundle, options.store, name=name, config=config, packed=options.packed)
    workers = f"{config.workers} worker{'s' * (config.workers > 1)}"
    sys.stdout.write(f"{made}: {name} version {bundle.manifest.version}, {workers}\n")
    return 0


def _config(options: argparse.Namespace) -> ModelConfig:
    return ModelConfig(
        workers=options.workers,
        backend=options.backend,
        precision=options.precision,
        threads=options.threads,
        batch_size=options.batch_size,
        batch_delay_ms=options.batch_delay,
        response_timeout_s=options.timeout,
        limits=Limits(options.max_images, options.max_mb, options.max_megapixels, options.max_answer_mb),
        drift_every_s=options.drift_every,
    )


def _parser() -> argparse.ArgumentParser:
    made = parser("archive", __doc__ or "", examples=EXAMPLES)
    usual = ModelConfig()
    add = made.add_argument
    add("--bundle", type=Path, required=True, metavar="FOLDER", help="as tools/export.py writes it")
    add_store(made)
    add("--name", metavar="NAME", help="under which it is served (default: that of the bundle)")
    add("--trust", type=Path, metavar="PATH", help="folder of *.pub files, or one: only what they have signed")
    add("--packed", action="store_true", help="one .mar file in place of a folder")
    workers_help = f"processes, each with the model; one for each core that is free (default {usual.workers})"
    add("--workers", type=count_from(1, 64), default=usual.workers, metavar="N", help=workers_help)
    onnx = tuple(name for name, entry in BACKENDS.items() if entry.format == "onnx")
    backend_help = f"runtime (default {usual.backend}); on a GPU {' or '.join(onnx[1:3])}"
    add("--backend", choices=tuple(BACKENDS), default=usual.backend, metavar="NAME", help=backend_help)
    add("--precision", choices=PRECISIONS, help="which model of the bundle (default: its first that fits)")
    add("--threads", type=count_from(1, 256), default=1, metavar="N", help="processor threads of a worker (default 1)")
    batch_help = (
        "images that one forward pass takes at most, for which so many requests are gathered; pays on a GPU, not on a processor; "
        "above 1 the bundle needs the batch form (tools/export.py --batch)"
    )
    add("--batch-size", type=count_from(1, 256), default=1, metavar="N", help=batch_help)
    add("--batch", type=renamed_to("--batch-size"), help=argparse.SUPPRESS)
    delay_help = f"how long a request waits for others to be gathered, in ms (default {usual.batch_delay_ms})"
    add("--batch-delay", type=count_from(1, 10000), default=usual.batch_delay_ms, metavar="MS", help=delay_help)
    timeout_help = f"a worker that needs longer for an answer is started anew (default {usual.response_timeout_s} s)"
    add("--timeout", type=count_from(1, 3600), default=usual.response_timeout_s, metavar="S", help=timeout_help)
    limits = usual.limits
    add(
        "--max-images", type=count_from(1, 1000), default=limits.images, metavar="N", help="in one request (default 16)"
    )
    mb_help = "of one image, in MB (default 20)"
    add("--max-mb", type=number_from(0.001, 1000), default=limits.image_mb, metavar="MB", help=mb_help)
    pixels_help = "of one image, as its header says, in millions of pixels (default 50)"
    add("--max-megapixels", type=number_from(0.001, 1000), default=limits.megapixels, metavar="MP", help=pixels_help)
    answer_help = (
        f"of the answer to one request, in MB (default {limits.answer_mb:g}); images for which it has no room are refused: "
        "pictures of annotated, masks. TorchServe keeps four times as much in memory (start --heap-mb) for each that it sends"
    )
    answer_number = number_from(0.001, LARGEST_ANSWER_MB)
    add("--max-answer-mb", type=answer_number, default=limits.answer_mb, metavar="MB", help=answer_help)
    drift_help = (
        "so often a worker compares the pictures of its last hour with the reference in the bundle, for Prometheus; 0 for "
        f"never (default {usual.drift_every_s:g})"
    )
    add("--drift-every", type=number_from(0, 86400), default=usual.drift_every_s, metavar="S", help=drift_help)
    return made
