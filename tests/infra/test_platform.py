"""Charts on both sites: pinned, the same, and nothing with a well-known password."""

from __future__ import annotations

import pytest

from infra.stack_config import ConfigError
from tests.support.pulumi_program import Applied, example, run, shapes_only


@pytest.fixture(scope="module")
def applied() -> Applied:
    """The example, with hcctl's own chart."""
    stack = example()
    stack["platform"] = {"hcctl_chart": "../charts/hcctl"}
    return run(stack, shapes_only)


def releases(applied: Applied, site: str) -> dict[str, dict[str, object]]:
    """The Helm releases of a site by name."""
    found = [release for release in applied.of(":Release") if release.name.startswith(f"hcctl-prod-{site}-")]
    return {release.inputs["name"]: dict(release.inputs) for release in found}


def test_both_sites_have_the_same_charts_at_one_version(applied: Applied) -> None:
    """Each chart is pinned, and no site has another version than the other."""
    pins = {
        site: {name: release.get("version") for name, release in releases(applied, site).items()}
        for site in ("cloud", "private")
    }
    assert pins["cloud"] == pins["private"]
    assert pins["cloud"] == {
        "kuberay-operator": "1.7.0",
        "kube-prometheus-stack": "91.5.0",
        "gpu-operator": "v26.7.0",
        "hcctl": None,
    }
    assert all(release["atomic"] for release in releases(applied, "cloud").values())


def test_the_driver_is_installed_where_it_is_missing(applied: Applied) -> None:
    """EKS's GPU image has the driver; the on-prem hosts of the example do not."""
    drivers = {site: releases(applied, site)["gpu-operator"]["values"] for site in ("cloud", "private")}
    assert drivers["cloud"] == {"driver": {"enabled": False}, "toolkit": {"enabled": False}}
    assert drivers["private"] == {"driver": {"enabled": True}, "toolkit": {"enabled": True}}


def test_hcctls_chart_knows_its_site(applied: Applied) -> None:
    """The folder of the configuration is released into the daemon's namespace, with the role of the site."""
    for site in ("cloud", "private"):
        release = releases(applied, site)["hcctl"]
        assert release["chart"] == "../charts/hcctl"
        assert (release["namespace"], release["values"]) == ("hcctl", {"site": {"role": site}})


def test_grafana_has_our_password() -> None:
    """Without one set nothing is applied: the chart's own default is known to everybody."""
    with pytest.raises(ConfigError, match="hcctl:grafanaPassword"):
        run(example(), shapes_only, secrets={"sshPrivateKey": "x"})


def test_without_a_platform_the_cluster_is_empty() -> None:
    """No chart and no connection to a cluster: what a first `up`, before the VPN stands, needs."""
    stack = example()
    del stack["platform"]
    applied = run(stack, shapes_only)
    assert [resource.name for resource in applied.resources if resource.type.startswith("kubernetes:")] == []
