"""The configuration of TorchServe's log is one that Log4j reads, and its files are bounded."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from cvforge_server.torchserve.server_logs import EACH_REQUEST, log_configuration


def test_every_reference_has_an_appender_and_every_file_is_set_aside():
    root = ElementTree.fromstring(log_configuration())
    appenders = {one.get("name") for one in root.find("Appenders")}
    assert {one.get("ref") for one in root.iter("AppenderRef")} == appenders
    files = list(root.iter("RollingFile"))
    assert len(files) == 3
    for file in files:
        assert file.find("Policies/SizeBasedTriggeringPolicy").get("size") == "50 MB"
        assert file.find("DefaultRolloverStrategy").get("max") == "5"
        assert "%i" in file.get("filePattern")


def test_what_is_said_at_every_request_is_left_out_and_nothing_else():
    worker = EACH_REQUEST["org.pytorch.serve.wlm.WorkerThread"]
    assert re.fullmatch(worker, "Looping backend response at: {}")
    assert not re.fullmatch(worker, "Retry worker: {} in {} seconds.")
    assert not re.fullmatch(worker, "Backend worker error")
