"""What hcctl stands on in a cluster: Helm releases, each chart at one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.stack_config import PlatformConfig

WAIT_S = 900
"""For a release to become ready; the first one pulls images."""
GRAFANA_SECRET = "grafana-admin"  # noqa: S105 - the name of a Secret, not its content


@dataclass(frozen=True)
class Chart:
    """A chart of a public repository, at one version."""

    name: str
    namespace: str
    repository: str
    version: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class ClusterPlatformArgs:
    """What the platform is made from."""

    config: PlatformConfig
    kubeconfig: pulumi.Input[str]
    gpu_driver_installed: bool
    grafana_password: pulumi.Output[str]
    hcctl_namespace: str
    role: str
    """`private` or `cloud`, for hcctl's own chart."""


def charts(config: PlatformConfig, *, gpu_driver_installed: bool) -> list[Chart]:
    """The charts of others, pinned. Pure."""
    return [
        Chart(
            "kuberay-operator",
            "ray-system",
            "https://ray-project.github.io/kuberay-helm/",
            config.kuberay_version,
            {},
        ),
        Chart(
            "kube-prometheus-stack",
            "monitoring",
            "https://prometheus-community.github.io/helm-charts",
            config.prometheus_version,
            {
                # The chart's own default is a password that everybody knows.
                "grafana": {
                    "admin": {
                        "existingSecret": GRAFANA_SECRET,
                        "userKey": "admin-user",
                        "passwordKey": "admin-password",
                    }
                },
                # Monitors and rules of hcctl's chart are found without being labelled for this release.
                "prometheus": {
                    "prometheusSpec": {
                        "podMonitorSelectorNilUsesHelmValues": False,
                        "serviceMonitorSelectorNilUsesHelmValues": False,
                        "ruleSelectorNilUsesHelmValues": False,
                    }
                },
            },
        ),
        Chart(
            "gpu-operator",
            "gpu-operator",
            "https://helm.ngc.nvidia.com/nvidia",
            config.gpu_operator_version,
            {"driver": {"enabled": not gpu_driver_installed}, "toolkit": {"enabled": not gpu_driver_installed}},
        ),
    ]


class ClusterPlatform(pulumi.ComponentResource):
    """KubeRay, Prometheus with Grafana, the GPU operator, and hcctl's chart where the configuration names it."""

    def __init__(self, name: str, args: ClusterPlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:ClusterPlatform", name, None, opts)
        provider = k8s.Provider(
            name,
            kubeconfig=args.kubeconfig,
            opts=pulumi.ResourceOptions(parent=self, additional_secret_outputs=["kubeconfig"]),
        )
        inside = pulumi.ResourceOptions(parent=self, provider=provider)
        monitoring = k8s.core.v1.Namespace(
            f"{name}-monitoring", metadata=k8s.meta.v1.ObjectMetaArgs(name="monitoring"), opts=inside
        )
        secret = k8s.core.v1.Secret(
            f"{name}-{GRAFANA_SECRET}",
            metadata=k8s.meta.v1.ObjectMetaArgs(name=GRAFANA_SECRET, namespace="monitoring"),
            string_data={"admin-user": "admin", "admin-password": args.grafana_password},
            opts=pulumi.ResourceOptions(parent=self, provider=provider, depends_on=[monitoring]),
        )
        released: list[pulumi.Resource] = [
            self._release(name, chart, provider, [secret] if chart.namespace == "monitoring" else [])
            for chart in charts(args.config, gpu_driver_installed=args.gpu_driver_installed)
        ]
        if args.config.hcctl_chart:
            k8s.helm.v3.Release(
                f"{name}-hcctl",
                name="hcctl",
                chart=args.config.hcctl_chart,
                namespace=args.hcctl_namespace,
                create_namespace=True,
                atomic=True,
                timeout=WAIT_S,
                values={"site": {"role": args.role}},
                opts=pulumi.ResourceOptions(parent=self, provider=provider, depends_on=released),
            )
        self.register_outputs({})

    def _release(
        self, name: str, chart: Chart, provider: k8s.Provider, after: Sequence[pulumi.Resource]
    ) -> k8s.helm.v3.Release:
        return k8s.helm.v3.Release(
            f"{name}-{chart.name}",
            name=chart.name,
            chart=chart.name,
            version=chart.version,
            namespace=chart.namespace,
            create_namespace=True,
            # A release that does not become ready is taken back, not left half done.
            atomic=True,
            timeout=WAIT_S,
            repository_opts=k8s.helm.v3.RepositoryOptsArgs(repo=chart.repository),
            values=dict(chart.values),
            opts=pulumi.ResourceOptions(parent=self, provider=provider, depends_on=list(after)),
        )
