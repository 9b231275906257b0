"""Check a bundle as a device does: its signature against trusted keys, then every byte."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
examples:
  python tools/export.py verify --bundle bundles/det_bccd --trust ~/keys/team-a.pub
  python tools/export.py verify --bundle bundles/det_bccd --trust /etc/cvforge/trust/

exit codes: 0 trusted and whole    2 command line or trust folder    7 not signed, not trusted, altered or damaged
"""


def main(argv: Sequence[str]) -> int:
    """Parse the command line and say who vouches for the bundle."""
    arguments = _parser().parse_args(argv)
    from cvforge_edge.bundle import open_bundle
    from cvforge_edge.trust import read_trust

    bundle = open_bundle(arguments.bundle, trust=read_trust(arguments.trust))
    manifest = bundle.manifest
    signers = ", ".join(map(str, bundle.signers))
    print(f"{manifest.name} version {manifest.version}: {len(manifest.files)} files, signed by {signers}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py verify",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--bundle", required=True, type=Path, metavar="FOLDER", help="folder of the bundle")
    parser.add_argument("--trust", required=True, type=Path, metavar="PATH", help="folder of *.pub files, or one")
    return parser
