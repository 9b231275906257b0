"""Sign a bundle: its manifest, and through the checksums there every file of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cvforge.commands.keys import add_key_option, open_keys

EXAMPLES = """\
The bundle is checked first: who signs vouches for every byte. Two keys make a signature that devices accept which trust
either of them; that is how a fleet moves from an old key to a new one.

examples:
  python tools/export.py sign --bundle bundles/det_bccd --key ~/keys/team-a.key
  python tools/export.py sign --bundle bundles/det_bccd --key ~/keys/old.key --key ~/keys/new.key --force
  python tools/export.py --run runs/det_bccd-20261123-101500 --sign ~/keys/team-a.key           # export and sign in one step

exit codes: 0 done    2 command line or key    6 signed already (--force)    7 bundle damaged    10 cannot write
"""


def main(argv: Sequence[str]) -> int:
    """Parse the command line and write the signature."""
    arguments = _parser().parse_args(argv)
    from cvforge.export.sign import sign_bundle
    from cvforge_edge.bundle import open_bundle_to_sign

    keys = open_keys(arguments.keys)
    bundle = open_bundle_to_sign(arguments.bundle)
    path = sign_bundle(bundle, keys, replace=arguments.force)
    print(f"{bundle.manifest.name} version {bundle.manifest.version} signed by {', '.join(map(str, keys))}: {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py sign",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--bundle", required=True, type=Path, metavar="FOLDER", help="folder of the bundle")
    add_key_option(parser, "--key", required=True)
    parser.add_argument("--force", action="store_true", help="replace the signature that is there")
    return parser
