"""The serving core behind LitServe, as one would write it in an afternoon: a contender of `serving.py`.

python benchmarks/litserve_app.py --bundle bundles/det_bccd --port 9000 --workers 1
"""

from __future__ import annotations

import argparse
import sys
import uuid
from pathlib import Path

import cv2
import litserve
from fastapi import Response

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"


class CoreApi(litserve.LitAPI):
    """One image a request, as a form's field `image`."""

    def __init__(self, bundle: str) -> None:
        super().__init__()
        self._bundle = bundle

    def setup(self, device: str) -> None:
        """Load the bundle in a worker."""
        sys.path[:0] = [str(DEPLOY / "edge"), str(DEPLOY / "server")]
        from cvforge_server.core import Core

        cv2.setNumThreads(1)
        self._core = Core.from_bundle(self._bundle)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe takes an annotation for a schema
        """The file of a form: LitServe hands no bare body on."""
        return request["image"].file.read()

    def predict(self, data: bytes) -> bytes:
        """The answer of the core."""
        from cvforge_server.request import Part

        return self._core.answer([[Part("body", data, "image/jpeg")]], ids=[str(uuid.uuid4())])[0].body

    def encode_response(self, output: bytes) -> Response:
        """JSON as it is."""
        return Response(output, media_type="application/json")


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    server = litserve.LitServer(CoreApi(options.bundle), accelerator="cpu", workers_per_device=options.workers)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
