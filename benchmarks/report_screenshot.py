"""Makes docs/images/report.png: the report of a run on a desktop and on a phone, in a real Chromium.

python benchmarks/report_screenshot.py runs/det_bccd-20261123-101500/report.html --output docs/images/report.png
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from chromium import Browser

DESKTOP_WH, PHONE_WH = (1180, 1240), (390, 1240)
GAP_PIXELS = 24
GAP_RGB = (180, 190, 200)
COLOURS = 160
"""Of the saved file; charts need few."""


def main() -> int:
    """Look at the page and save what is seen."""
    options = _parser().parse_args()
    address = Path(options.report).resolve().as_uri()
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder) / "profile") as browser:
        shots = [Path(folder) / "desktop.png", Path(folder) / "phone.png"]
        browser.resize(*DESKTOP_WH)
        browser.open(address)
        browser.wait_for(f"document.getElementById('{options.desktop}') !== null && document.readyState === 'complete'")
        browser.evaluate(f"document.getElementById('{options.desktop}').scrollIntoView()")
        browser.screenshot(shots[0])
        browser.resize(*PHONE_WH, dark=True, phone=True)
        browser.open(address)
        browser.wait_for("document.readyState === 'complete'")
        browser.evaluate(f"document.getElementById('{options.phone}')?.scrollIntoView()")
        browser.screenshot(shots[1])
        pictures = [np.array(Image.open(path).convert("RGB")) for path in shots]
    gap = np.full((pictures[0].shape[0], GAP_PIXELS, 3), GAP_RGB, np.uint8)
    joined = Image.fromarray(np.hstack([pictures[0], gap, pictures[1]]))
    joined.quantize(COLOURS).save(options.output, optimize=True)
    print(f"{options.output}: {Path(options.output).stat().st_size / 1000:.0f} kB")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Makes the picture of a run's report in the documentation.")
    parser.add_argument("report", metavar="FILE", help="report.html of a run")
    parser.add_argument("--output", default="docs/images/report.png", metavar="FILE", help="PNG (default %(default)s)")
    parser.add_argument("--desktop", default="choice", metavar="ID", help="section to show there (default %(default)s)")
    parser.add_argument("--phone", default="top", metavar="ID", help="section to show there (default: the beginning)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
