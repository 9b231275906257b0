"""The application that a configuration of Ray Serve names: `import_path: cvforge_server.rayserve.application:build`.

serve run cvforge_server.rayserve.application:build bundle=/models/det_bccd
serve deploy deploy/server/serve.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cvforge_server.rayserve.replica import Predictions, bundle_path
from cvforge_server.rayserve.settings import BUNDLE, Settings

if TYPE_CHECKING:
    from ray.serve import Application

DEPLOYMENT = "Predictions"
ONGOING, QUEUED = 8, 100
"""Requests that a replica has at hand, bodies and all, and that wait for one at a proxy; more are refused with 503."""
GRACEFUL_S = 30.0
"""So long a replica that is to end may take for the requests that it has."""


def build(args: Mapping[str, Any]) -> Application:
    """One model, served.

    Args:
        args: those of `Settings`, and perhaps `bundle`. Where a configuration is kept, `bundle` belongs into the
            `user_config` of the deployment: changed there, replicas exchange it while they answer; changed in `args`, Ray
            replaces each replica.

    Raises:
        UsageError: an unknown argument or a wrong value.
    """
    from ray import serve

    chosen = {name: value for name, value in args.items() if name == BUNDLE}
    if chosen:
        bundle_path(chosen)
    settings = Settings.read({name: value for name, value in args.items() if name != BUNDLE})
    deployment = serve.deployment(
        Predictions,
        name=DEPLOYMENT,
        max_ongoing_requests=max(ONGOING, 2 * settings.batch_size),
        max_queued_requests=QUEUED,
        graceful_shutdown_timeout_s=GRACEFUL_S,
        user_config=chosen or None,
    )
    application: Application = deployment.bind(settings)
    return application
