"""Make a key pair that signs bundles: a private file that stays with you, and a public one for your devices."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cvforge.commands.keys import PASSPHRASE_VARIABLE, new_passphrase

EXAMPLES = f"""\
The private key (ed25519, PEM) is readable by you alone, and encrypted when you give a passphrase: at the prompt, or in
{PASSPHRASE_VARIABLE}. It is refused inside a git repository, unless git ignores the place. The public file goes into the
trust folder of each device; a line 'models: cells, cells-*' above its key restricts the key to those models.

examples:
  python tools/export.py keygen --output ~/keys/team-a.key
  scp ~/keys/team-a.pub device:/etc/cvforge/trust/
  python tools/export.py sign --bundle bundles/det_bccd --key ~/keys/team-a.key

exit codes: 0 done    2 command line, or a place unfit for a private key    6 the file exists    10 cannot write
"""


def main(argv: Sequence[str]) -> int:
    """Parse the command line and write the two files."""
    arguments = _parser().parse_args(argv)
    from cvforge.export.sign import PUBLIC_SUFFIX, make_key

    passphrase = new_passphrase()
    path = arguments.output.expanduser()
    key = make_key(path, passphrase=passphrase)
    print(
        f"private key: {path} ({'encrypted' if passphrase else 'without passphrase: whoever gets the file can sign'})"
    )
    print(f"public key:  {path.with_suffix(PUBLIC_SUFFIX)}, for the trust folder of your devices")
    print(f"key id:      {key.key_id}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="export.py keygen",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="NAME.key", help="private key; NAME.pub beside it"
    )
    return parser
