"""The configurations for Ray Serve and KubeRay pass the schemas of Ray itself and name what there is."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from cvforge_server.rayserve.replica import bundle_path

SERVE, KUBERAY = (REPOSITORY / "deploy" / "server" / name for name in ("serve.yaml", "kuberay.yaml"))


def serve_config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SERVE.read_text())
    return found


def kuberay() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(KUBERAY.read_text())
    return found


def check_schema(config: dict[str, Any]) -> None:
    """By Ray; it lets unknown keys pass, so that they are compared with those that it has."""
    schema = pytest.importorskip("ray.serve.schema")
    read = schema.ServeDeploySchema.model_validate(config)
    assert set(config) <= set(schema.ServeDeploySchema.model_fields)
    assert set(config["http_options"]) <= set(schema.HTTPOptionsSchema.model_fields)
    for given, application in zip(config["applications"], read.applications, strict=True):
        assert set(given) <= set(schema.ServeApplicationSchema.model_fields)
        module, _, name = application.import_path.partition(":")
        build = getattr(importlib.import_module(module), name)
        deployment = build(application.args)._bound_deployment
        assert [entry["name"] for entry in given["deployments"]] == [deployment.name]
        for entry in given["deployments"]:
            assert set(entry) <= set(schema.DeploymentSchema.model_fields)
            assert bundle_path(entry["user_config"]).startswith("/models/")


def test_the_configuration_passes_rays_own_schema_and_builds_its_applications() -> None:
    check_schema(serve_config())


def test_a_misspelt_key_would_not_pass() -> None:
    wrong = serve_config()
    wrong["applications"][0]["deployments"][0]["max_qeued_requests"] = 1
    with pytest.raises(AssertionError):
        check_schema(wrong)


def test_applications_have_addresses_as_torchserve_has_them() -> None:
    names = {one["name"]: one["route_prefix"] for one in serve_config()["applications"]}
    assert len(names) == 2  # several models, one file
    assert all(prefix == f"/predictions/{name}" for name, prefix in names.items())


def test_the_configuration_listens_on_loopback() -> None:
    assert serve_config()["http_options"]["host"] == "127.0.0.1"


def test_the_manifest_is_a_ray_service_of_the_very_same_applications() -> None:
    manifest = kuberay()
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    inner = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    check_schema(inner)
    wanted = serve_config()
    wanted["http_options"]["host"] = "0.0.0.0"  # within a pod
    assert inner == wanted


def test_the_manifests_pods_run_one_pinned_image_without_root_and_see_the_bundles() -> None:
    cluster = kuberay()["spec"]["rayClusterConfig"]
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    specs = [pod["template"]["spec"] for pod in pods]
    containers = [spec["containers"][0] for spec in specs]
    assert len({container["image"] for container in containers}) == 1
    assert not containers[0]["image"].endswith(":latest")
    assert all(spec["securityContext"]["runAsNonRoot"] for spec in specs)
    assert all(not container["securityContext"]["allowPrivilegeEscalation"] for container in containers)
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"  # so that only workers need the bundles
    assert [mount["mountPath"] for mount in containers[1]["volumeMounts"]] == ["/models"]
    port = yaml.safe_load(kuberay()["spec"]["serveConfigV2"])["http_options"]["port"]
    assert all({"containerPort": port, "name": "serve"} in container["ports"] for container in containers)
