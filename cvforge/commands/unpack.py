"""Make a bundle of an archive; the folder appears when every byte has been checked, or not at all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
Links, devices, absolute paths, files that the manifest does not list, wrong lengths: anything that is not exactly what the
manifest says is refused. With --trust the signature is asked before anything is written.

examples:
  python tools/export.py unpack --archive det_bccd.tar --output bundles/det_bccd
  python tools/export.py unpack --archive det_bccd.tar --output bundles/det_bccd --trust ~/keys/team-a.pub

exit codes: 0 done    2 command line    6 the folder exists    7 archive damaged or not trusted    10 cannot write
"""


def main(argv: Sequence[str]) -> int:
    """Parse the command line and make the folder."""
    arguments = _parser().parse_args(argv)
    from cvforge_edge.archive import unpack_bundle
    from cvforge_edge.trust import read_optional_trust

    trust = read_optional_trust(arguments.trust)
    bundle = unpack_bundle(arguments.archive, arguments.output, trust=trust)
    signers = f", signed by {', '.join(map(str, bundle.signers))}" if bundle.signers else ""
    print(f"{arguments.output}: {bundle.manifest.name} version {bundle.manifest.version}{signers}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py unpack",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--archive", required=True, type=Path, metavar="FILE", help="archive, as pack writes it")
    add("--output", required=True, type=Path, metavar="FOLDER", help="the bundle's folder; there must be nothing yet")
    add("--trust", type=Path, metavar="PATH", help="folder of *.pub files, or one: unpack only what they have signed")
    return parser
