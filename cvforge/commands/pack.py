"""Make one file of a bundle, for sending; the same bundle always gives the same bytes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
The file is a plain tar without compression: weights hardly compress, and there is nothing that could blow up on a device.

examples:
  python tools/export.py pack --bundle bundles/det_bccd
  python tools/export.py pack --bundle bundles/det_bccd --output release/det_bccd-3.tar --trust ~/keys/team-a.pub
  python tools/export.py unpack --archive det_bccd.tar --output bundles/copy

exit codes: 0 done    2 command line    6 the file exists    7 bundle damaged or not trusted    10 cannot write
"""


def main(argv: Sequence[str]) -> int:
    """Parse the command line and write the archive."""
    arguments = _parser().parse_args(argv)
    from cvforge_edge.archive import ARCHIVE_SUFFIX, pack_bundle
    from cvforge_edge.bundle import file_sha256, open_bundle
    from cvforge_edge.trust import read_optional_trust

    trust = read_optional_trust(arguments.trust)
    bundle = open_bundle(arguments.bundle, trust=trust)
    target = arguments.output or Path(arguments.bundle.resolve().name + ARCHIVE_SUFFIX)
    pack_bundle(bundle, target)
    print(f"{target}: {target.stat().st_size} bytes, SHA-256 {file_sha256(target)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py pack",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--bundle", required=True, type=Path, metavar="FOLDER", help="folder of the bundle")
    add("--output", type=Path, metavar="FILE", help="the archive (default: the bundle's name with .tar, here)")
    add("--trust", type=Path, metavar="PATH", help="pack only what one of these keys has signed")
    return parser
