"""The program: components in order, from the configuration to the outputs."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.budget_alarm import BudgetAlarm, BudgetAlarmArgs
from infra.cluster_platform import ClusterPlatform, ClusterPlatformArgs
from infra.eks_cluster import EksCluster, EksClusterArgs
from infra.gpu_pools import GpuPools, GpuPoolsArgs
from infra.identity import Identity, IdentityArgs
from infra.image_registry import ImageRegistry, ImageRegistryArgs
from infra.kubeconfig import eks_kubeconfig
from infra.model_bucket import ModelBucket, ModelBucketArgs
from infra.network import Network, NetworkArgs
from infra.on_prem_cluster import OnPremCluster, OnPremClusterArgs
from infra.outputs import FORMAT, PoolOutput, StackOutputs
from infra.policies import Place
from infra.reclaim_notices import ReclaimNotices, ReclaimNoticesArgs
from infra.stack_config import ConfigError, ExistingCluster, StackConfig, load
from infra.tagging import stack_tags


def build() -> None:
    """Read the stack's configuration, declare everything, export the outputs.

    Raises:
        ConfigError: the configuration is not valid, or a secret that it needs is not set.
    """
    settings = pulumi.Config("hcctl")
    config = load(settings.get_object("stack"))
    for name, value in declare(config, settings).items():
        pulumi.export(name, value)


def declare(config: StackConfig, settings: pulumi.Config) -> dict[str, pulumi.Input[object]]:
    """All resources of a stack; returns its outputs by the names of `outputs.StackOutputs`."""
    name, tags = config.name, stack_tags(config.name, config.tags)
    # An account that is not the declared one is refused by the provider before anything is made.
    account = aws.Provider(name, region=config.region, allowed_account_ids=[config.account_id])
    inside = pulumi.ResourceOptions(providers=[account])
    place = Place(config.region, config.account_id, name)

    network = Network(name, NetworkArgs(config.network, config.region, config.on_prem, tags), inside)
    cluster = EksCluster(
        name,
        EksClusterArgs(
            config.cluster,
            network.vpc_id,
            network.private_subnet_ids,
            config.on_prem.cidrs if config.on_prem else [],
            tags,
        ),
        inside,
    )
    GpuPools(
        name,
        GpuPoolsArgs(config.gpu_pools, cluster.cluster.name, cluster.node_role.arn, network.private_subnet_ids, tags),
        pulumi.ResourceOptions(providers=[account], depends_on=cluster.ready),
    )
    models = ModelBucket(f"{name}-models", ModelBucketArgs(config.account_id, config.region, tags), inside)
    images = ImageRegistry(name, ImageRegistryArgs(config.repositories, models.key.arn, tags), inside)
    notices = ReclaimNotices(f"{name}-reclaims", ReclaimNoticesArgs(tags), inside)
    identity = Identity(
        name,
        IdentityArgs(
            config.daemon,
            place,
            cluster.cluster.name,
            [pool.name for pool in config.gpu_pools],
            models.bucket.arn,
            models.key.arn,
            notices.queue.arn,
            tags,
        ),
        inside,
    )
    BudgetAlarm(name, BudgetAlarmArgs(config.budget, config.account_id, name, tags), inside)
    certificate = cluster.cluster.certificate_authority.apply(lambda authority: authority.data or "")
    kubeconfig = pulumi.Output.all(cluster.cluster.endpoint, certificate).apply(
        lambda known: eks_kubeconfig(name, config.region, *known)
    )
    on_prem = _on_prem(config, settings)
    _platforms(config, settings, kubeconfig, on_prem, cluster)
    found: dict[str, pulumi.Input[object]] = {
        "format": FORMAT,
        "name": name,
        "region": config.region,
        "account_id": config.account_id,
        "namespace": config.daemon.namespace,
        "cluster_arn": cluster.cluster.arn,
        "cluster_endpoint": cluster.cluster.endpoint,
        "kubeconfig": kubeconfig,
        "on_prem_kubeconfig": on_prem.kubeconfig if on_prem else None,
        "pools": [
            PoolOutput(
                name=pool.name,
                capacity=pool.capacity,
                gpu=pool.gpu,
                instance_types=pool.instance_types,
                min_nodes=pool.min_nodes,
                max_nodes=pool.max_nodes,
            ).model_dump()
            for pool in config.gpu_pools
        ],
        "daemon_role_arn": identity.daemon_role.arn,
        "replica_role_arn": identity.replica_role.arn,
        "replica_service_account": config.daemon.replica_service_account,
        "model_bucket": models.bucket.id,
        "model_key_arn": models.key.arn,
        "repository_urls": images.urls,
        "reclaim_queue_url": notices.queue.url,
        "vpc_id": network.vpc_id,
        "vpn_connection_id": network.vpn_connection_id,
    }
    if found.keys() != StackOutputs.model_fields.keys():
        raise AssertionError(f"outputs.py declares others: {found.keys() ^ StackOutputs.model_fields.keys()}")
    return found


def _on_prem(config: StackConfig, settings: pulumi.Config) -> OnPremCluster | None:
    wanted = config.on_prem.cluster if config.on_prem else None
    if wanted is None:
        return None
    existing = isinstance(wanted, ExistingCluster)
    args = OnPremClusterArgs(
        wanted,
        kubeconfig=_secret(settings, "onPremKubeconfig", "on_prem.cluster") if existing else None,
        ssh_private_key=None if existing else _secret(settings, "sshPrivateKey", "on_prem.cluster"),
    )
    return OnPremCluster(f"{config.name}-on-prem", args)


def _platforms(
    config: StackConfig,
    settings: pulumi.Config,
    kubeconfig: pulumi.Output[str],
    on_prem: OnPremCluster | None,
    cluster: EksCluster,
) -> None:
    """The same charts on both sites, where the configuration asks for them."""
    if config.platform is None:
        return
    password = _secret(settings, "grafanaPassword", "platform")
    ClusterPlatform(
        f"{config.name}-cloud",
        ClusterPlatformArgs(config.platform, kubeconfig, True, password, config.daemon.namespace, "cloud"),
        pulumi.ResourceOptions(depends_on=cluster.ready),
    )
    if on_prem and config.on_prem and config.on_prem.cluster:
        driver = config.on_prem.cluster.gpu_driver_installed
        ClusterPlatform(
            f"{config.name}-private",
            ClusterPlatformArgs(
                config.platform, on_prem.kubeconfig, driver, password, config.daemon.namespace, "private"
            ),
        )


def _secret(settings: pulumi.Config, key: str, asked_by: str) -> pulumi.Output[str]:
    found = settings.get_secret(key)
    if found is None:
        raise ConfigError(
            f"hcctl:{key}", f"it is not set, and {asked_by} needs it", f"pulumi config set --secret hcctl:{key}"
        )
    return found
