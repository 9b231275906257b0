"""What a bundle says about a network that was imported: where it comes from, what was proven, what was not."""

from __future__ import annotations

from cvforge.config.schema import Config
from cvforge.export.compose import Import
from cvforge_edge.bundle import file_sha256
from cvforge_edge.types import Task


def import_provenance(what: Import, *, kind: str) -> dict[str, object]:
    """Plain JSON for the manifest, without paths of this machine."""
    model, normalisation = what.original.model, what.normalisation
    return {
        "file": what.original.path.name,
        "sha256": file_sha256(what.original.path),
        "producer": f"{model.producer_name} {model.producer_version}".strip() or "unknown",
        "opset": max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "kind": kind,
        "outputs": list(what.outputs),
        "color": normalisation.color,
        "scale": normalisation.scale,
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        **({"label_ids": list(what.decode.label_ids)} if what.decode.label_ids else {}),
    }


def card_sections(what: Import, *, kind: str, config: Config | None) -> tuple[str, ...]:
    """The model card's section about the import, in Markdown."""
    facts, normalisation = import_provenance(what, kind=kind), what.normalisation
    expects = (
        f"{normalisation.color.upper()}, (pixel * {normalisation.scale:.6g} - {list(normalisation.mean)}) / "
        f"{list(normalisation.std)}"
    )
    decoding = "box decoding" if what.head.task is Task.DETECTION else "the last step to probabilities"
    lines = [
        "## Imported",
        "",
        f"CVForge did not train this network. It was imported from `{facts['file']}` (SHA-256 {facts['sha256']}, written by "
        f"{facts['producer']}, opset {facts['opset']}) as kind `{kind}`. Preprocessing ({expects}) and {decoding} were "
        "put into its graph; its own nodes and weights were kept. `checkpoint` stands for that file, run as it is.",
        "",
        "Proven, on real images:",
        f"- the files of this bundle give what `{facts['file']}` gives with preprocessing and {decoding} in numpy (worst "
        "output error above), and the self-test replays it;",
    ]
    unproven = "colour order, normalisation, resizing and order of the labels are those that it was trained with"
    if config is None:
        lines += ["", "Not proven:", f"- that {unproven}: no labelled images were given, so nothing was scored;"]
    else:
        lines += [
            f"- its score above: a low one says that not all of {unproven}.",
            "",
            "Not proven:",
            "- that this is the best it can do: compare the score with what its maker states, on the same images;",
        ]
    lines.append("- what it was trained on, by whom, and under which licence: ask its maker.")
    return ("\n".join(lines),)
