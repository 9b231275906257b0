"""What an application on Ray Serve is told: every problem of its arguments at once, and what it becomes for Ray."""

from __future__ import annotations

import pytest

from cvforge_edge.backends import BACKENDS
from cvforge_edge.errors import UsageError
from cvforge_server.images import Limits
from cvforge_server.rayserve.replica import bundle_path
from cvforge_server.rayserve.settings import Settings


def test_values_may_be_numbers_of_yaml_or_text_of_a_command_line() -> None:
    wanted = Settings(precision="fp16", batch_size=4, max_mb=1.5)
    assert Settings.read({"precision": "fp16", "batch_size": 4, "max_mb": 1.5}) == wanted
    assert Settings.read({"precision": "fp16", "batch_size": "4", "max_mb": "1.5"}) == wanted
    assert Settings.read({}) == Settings()


def test_limits_are_those_of_the_core() -> None:
    assert Settings(max_images=2, max_mb=3.0, max_megapixels=4.0, max_answer_mb=5.0).limits == Limits(2, 3.0, 4.0, 5.0)


def test_every_problem_is_listed_at_once_with_the_nearest_name() -> None:
    wrong = {"batch": 4, "threads": 0, "batch_size": True, "backend": "tensor", "max_mb": "many", "trust": "keys"}
    with pytest.raises(UsageError) as found:
        Settings.read(wrong)
    lines = str(found.value).splitlines()
    assert len(lines) == len(wrong) and found.value.exit_code == 2
    assert lines[0].startswith("args: found 'batch', accepted bundle, backend, ") and lines[0].endswith(
        "mean batch_size?"
    )
    assert lines[1] == "args: threads: found '0', accepted a whole number from 1 to 256"
    assert lines[2] == "args: batch_size: found 'True', accepted a whole number from 1 to 256"
    assert lines[3] == f"args: backend: found 'tensor', accepted {', '.join(BACKENDS)}"
    assert lines[4] == "args: max_mb: found 'many', accepted a number from 0.001 to 1000"
    assert lines[5] == "args: trust: found 'keys', accepted an absolute path that every machine of the cluster reaches"


@pytest.mark.parametrize(
    "user_config", [None, {}, {"bundle": "/b", "batch_size": 2}, {"bundle": "bundles/det"}, {"bundle": None}, "/b", 7]
)
def test_a_user_config_names_a_bundle_by_its_absolute_path_and_nothing_else(user_config: object) -> None:
    with pytest.raises(UsageError, match="user_config: .*absolute path"):
        bundle_path(user_config)
    assert bundle_path({"bundle": "/models/det-1"}) == "/models/det-1"


def test_an_application_holds_its_bundle_where_it_can_be_exchanged() -> None:
    pytest.importorskip("ray.serve")
    from cvforge_server.rayserve.application import build

    deployment = build({"bundle": "/models/det-1", "batch_size": "12"})._bound_deployment
    assert deployment.user_config == {"bundle": "/models/det-1"}
    assert deployment.init_args == (Settings(batch_size=12),)
    assert (deployment.max_ongoing_requests, deployment.max_queued_requests) == (24, 100)
    assert build({})._bound_deployment.user_config is None  # the configuration's deployment names it


def test_an_application_with_a_wrong_argument_is_not_built() -> None:
    pytest.importorskip("ray.serve")
    from cvforge_server.rayserve.application import build

    with pytest.raises(UsageError, match="did you mean bundle"):
        build({"bundel": "/models/det-1"})
    with pytest.raises(UsageError, match="absolute path"):
        build({"bundle": "det-1"})
