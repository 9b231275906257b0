"""A real TorchServe whose clients ask for more than an answer may hold: no worker dies of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_server.client import Client, ClientError
from edge.conftest import build_bundle
from server.real_server import MISSING, start_server, stop_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
SIDE = 7000


def test_annotated_pictures_of_49_megapixels_beyond_the_limit_are_refused_and_no_worker_dies(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 20))[1].tobytes()
    bundle = build_bundle(tmp_path / "detector", "detector", formats=("onnx",), golden=True)
    options = {"options": ("--timeout", 600), "start": ("--max-request-mb", 50)}
    server = start_server(tmp_path, {"detector": bundle}, **options)
    try:
        pids = [worker["pid"] for worker in server.workers("detector")]
        url = f"http://127.0.0.1:{server.port}"
        with Client(url, model="detector", token=server.token(), timeout_s=600, retries=0) as client:
            found = client.predict_many([data] * 6, annotated=True)
            with pytest.raises(
                ClientError, match="status 413: the request is larger than the server takes; send fewer"
            ):
                client.predict_many([data] * 7)
        codes = [result.code if isinstance(result, ClientError) else "ok" for result in found]
        assert codes == ["ok", "ok", *["answer_too_large"] * 2, *["too_large"] * 2], "four have the pixels of a request"
        assert all(len(result.annotated_jpeg or b"") > 10e6 for result in found[:2])
        body = server.predict("detector", data, "image/jpeg", options="annotated=true")
        assert body.status == 200 and len(body.body) < 50e6
        assert [worker["pid"] for worker in server.workers("detector")] == pids
    finally:
        stop_server(server)
