"""The typed configuration of a stack: one object under the key `hcctl:stack` of `Pulumi.<stack>.yaml`.

`Pulumi.example.yaml` shows every field. An unknown field, a value out of range and address ranges that overlap are
refused before anything is created, with the field and the fix. Secrets are not in here: an SSH key and a kubeconfig
are keys of their own, set by `pulumi config set --secret`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,38}[a-z0-9]$")]
Zone = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d[a-z]$")]
InstanceType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+\.[a-z0-9]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
FilePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./-]{1,500}$")]
Version = Annotated[str, StringConstraints(pattern=r"^v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?$")]
Https = Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]+(/[A-Za-z0-9._~/-]*)?$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]{1,64}@[^@\s]{1,190}$")]
TagText = Annotated[str, StringConstraints(pattern=r"^[\w .:/=+@-]{1,128}$")]


SYSTEM_VOLUME_GB = 50
"""Root volume of a system node: images of operators, and Prometheus."""


class ConfigError(ValueError):
    """A field of the stack configuration is wrong.

    Args:
        field: its path, as `gpu_pools.0.max_nodes`.
        why: the problem, in one clause.
        fix: the edit that mends it; may be empty.
    """

    def __init__(self, field: str, why: str, fix: str) -> None:
        self.field, self.why, self.fix = field, why, fix
        super().__init__(f"{field}: {why}" + (f" ({fix})" if fix else ""))


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkConfig(_Model):
    """The VPC and what leads out of it."""

    vpc_cidr: IPv4Network = Field(description="Addresses of the VPC, /16 to /20; no other range of the stack overlaps.")
    zones: list[Zone] = Field(min_length=2, max_length=3, description="Availability zones; EKS needs two.")
    nat: Literal["one", "per_zone"] = Field(
        default="one", description="One NAT gateway is cheaper; one per zone survives the loss of a zone."
    )
    interface_endpoints: list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$")]] = Field(
        default=["ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"],
        max_length=16,
        description="AWS services reached inside the VPC, billed per zone and hour; S3 is always there and free.",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not 16 <= self.vpc_cidr.prefixlen <= 20:
            raise ValueError(f"vpc_cidr is a /{self.vpc_cidr.prefixlen}; give a range from /16 to /20")
        if not self.vpc_cidr.is_private:
            raise ValueError("vpc_cidr holds public addresses; take a private range such as 10.64.0.0/16")
        if len(set(self.zones)) != len(self.zones):
            raise ValueError("zones names one twice; name each once")
        return self


class VpnConfig(_Model):
    """The on-prem end of the site-to-site VPN."""

    gateway_ip: IPv4Address = Field(description="Public address of the on-prem VPN device.")
    bgp_asn: int = Field(default=65_000, ge=1, le=4_294_967_294, description="Of the device; routes are static.")


class ExistingCluster(_Model):
    """A cluster that is there; its kubeconfig is the secret `hcctl:onPremKubeconfig`."""

    kind: Literal["kubeconfig"]
    gpu_driver_installed: bool = Field(default=False, description="True: the GPU operator installs no driver.")


class K3sFiles(_Model):
    """Hashes of the k3s release; what does not match is never run."""

    binary_sha256: Sha256
    installer_sha256: Sha256
    images_sha256: Sha256 | None = Field(default=None, description="Of the image archive; needed with air_gap.")


class AirGap(_Model):
    """Files on the computer that runs Pulumi; the hosts download nothing."""

    binary: FilePath
    installer: FilePath
    images: FilePath


class K3sHost(_Model):
    """A bare machine, known by its host key."""

    address: Host
    host_key: Annotated[
        str, StringConstraints(pattern=r"^(ssh-ed25519|ecdsa-sha2-nistp\d{3}|ssh-rsa) [A-Za-z0-9+/=]{40,800}$")
    ] = Field(description="Public key of the host, as `ssh-keyscan` prints it behind the name; another is refused.")


class K3sCluster(_Model):
    """A cluster that is made on bare hosts over SSH; the key is the secret `hcctl:sshPrivateKey`."""

    kind: Literal["k3s"]
    version: Annotated[str, StringConstraints(pattern=r"^v\d+\.\d+\.\d+\+k3s\d+$")]
    server: K3sHost
    agents: list[K3sHost] = Field(default_factory=list, max_length=200)
    ssh_user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    files: K3sFiles
    air_gap: AirGap | None = Field(default=None, description="Unset: each host downloads the release itself.")
    gpu_driver_installed: bool = Field(default=False, description="True: the GPU operator installs no driver.")

    @model_validator(mode="after")
    def _hashes_and_hosts(self) -> Self:
        if self.air_gap and self.files.images_sha256 is None:
            raise ValueError("files lacks images_sha256; air_gap needs the hash of the image archive")
        hosts = [host.address for host in (self.server, *self.agents)]
        if len(set(hosts)) != len(hosts):
            raise ValueError("agents names a host twice; name each host once, the server not among them")
        return self


class OnPremConfig(_Model):
    """The private site: its addresses, the way there, and its cluster."""

    cidrs: list[IPv4Network] = Field(min_length=1, max_length=16, description="All on-prem ranges that the VPC meets.")
    vpn: VpnConfig | None = Field(default=None, description="Unset: the two sites are joined by something else.")
    cluster: Annotated[ExistingCluster | K3sCluster, Field(discriminator="kind")] | None = None


class ClusterConfig(_Model):
    """The EKS control plane and the small pool for what is no model."""

    kubernetes_version: Annotated[str, StringConstraints(pattern=r"^1\.\d{2}$")]
    service_cidr: IPv4Network = Field(default=IPv4Network("172.20.0.0/16"), description="Of Kubernetes services.")
    log_retention_days: Literal[7, 14, 30, 60, 90, 180, 365] = 30
    system_instance_type: InstanceType = "m7i.large"
    system_nodes: int = Field(default=2, ge=1, le=10, description="Nodes for operators and monitoring; always on.")


class GpuPoolConfig(_Model):
    """One managed node group. hcctl moves its size between min and max."""

    name: Name
    capacity: Literal["on_demand", "spot"]
    gpu: Name = Field(description="Label hcctl.dev/gpu of its nodes, such as a10g.")
    instance_types: list[InstanceType] = Field(min_length=1, max_length=20, description="Alike: same GPUs per node.")
    min_nodes: int = Field(default=0, ge=0, le=450)
    max_nodes: int = Field(ge=1, le=450)
    start_nodes: int = Field(default=0, ge=0, le=450, description="At creation only; afterwards hcctl owns the number.")
    volume_gb: int = Field(default=200, ge=50, le=16_000, description="Root volume; holds images and weights.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes is {self.min_nodes}; set it to max_nodes, {self.max_nodes}, or less")
        if not self.min_nodes <= self.start_nodes <= self.max_nodes:
            raise ValueError(f"start_nodes is {self.start_nodes}; set it from {self.min_nodes} to {self.max_nodes}")
        return self


class DaemonConfig(_Model):
    """Where the daemon runs, and so how AWS knows it."""

    runs_on: Literal["cloud", "on_prem"] = Field(description="cloud: EKS pod identity. on_prem: OIDC federation.")
    namespace: Name = "hcctl"
    service_account: Name = "hcctl-daemon"
    replica_service_account: Name = Field(default="hcctl-replica", description="Of the pods that load models on EKS.")
    oidc_issuer: Https | None = Field(
        default=None, description="on_prem: issuer of the cluster's service account tokens, readable by AWS."
    )

    @model_validator(mode="after")
    def _issuer(self) -> Self:
        if self.runs_on == "on_prem" and self.oidc_issuer is None:
            raise ValueError("oidc_issuer is missing; a daemon on-prem is known to AWS by its cluster's issuer")
        if self.runs_on == "cloud" and self.oidc_issuer is not None:
            raise ValueError("oidc_issuer is for runs_on: on_prem; leave it out")
        return self


class BudgetConfig(_Model):
    """Who is told when the month gets dear."""

    usd_per_month: float = Field(gt=0, le=100_000_000)
    emails: list[Email] = Field(min_length=1, max_length=10)
    alert_percents: list[Annotated[int, Field(ge=1, le=1_000)]] = Field(
        default=[50, 80, 100], min_length=1, max_length=4, description="Of actual cost; 100 is also forecast."
    )


class PlatformConfig(_Model):
    """Charts, each at one version. Needs a way to the private endpoint of the cluster: apply it once the VPN is up."""

    kuberay_version: Version = "1.7.0"
    prometheus_version: Version = "91.5.0"
    gpu_operator_version: Version = "v26.7.0"
    hcctl_chart: FilePath | None = Field(default=None, description="Folder or archive of hcctl's own chart.")


class StackConfig(_Model):
    """All of a stack."""

    name: Name = Field(max_length=24, description="Begins the name of everything, and is the cluster's name.")
    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")] = Field(
        description="The only AWS account that the stack may touch; in quotes."
    )
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    tags: dict[TagText, TagText] = Field(default_factory=dict, max_length=20, description="On all that takes tags.")
    network: NetworkConfig
    cluster: ClusterConfig
    gpu_pools: list[GpuPoolConfig] = Field(min_length=1, max_length=20)
    daemon: DaemonConfig
    budget: BudgetConfig
    repositories: list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._/-][a-z0-9]+)*$")]] = Field(
        default=["hcctl/daemon", "hcctl/serve"], max_length=20, description="Image repositories."
    )
    on_prem: OnPremConfig | None = None
    platform: PlatformConfig | None = Field(default=None, description="Unset: an empty cluster.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        pools = [pool.name for pool in self.gpu_pools]
        twice = next((pool for pool in pools if pools.count(pool) > 1), None)
        if twice or "system" in pools:
            raise ValueError(f"gpu_pools has {twice or 'system'!r} twice; the cluster has a pool named system already")
        stray = next((zone for zone in self.network.zones if zone[:-1] != self.region), None)
        if stray:
            raise ValueError(f"network.zones has {stray}; it is not in region {self.region}")
        reserved = next((key for key in self.tags if key.lower().startswith(("hcctl:", "aws:", "name"))), None)
        if reserved:
            raise ValueError(f"tags has {reserved!r}; hcctl: and aws: and Name are taken, choose another key")
        return self

    @model_validator(mode="after")
    def _addresses_are_apart(self) -> Self:
        ranges = [("network.vpc_cidr", self.network.vpc_cidr), ("cluster.service_cidr", self.cluster.service_cidr)]
        if self.on_prem:
            ranges += [(f"on_prem.cidrs.{n}", cidr) for n, cidr in enumerate(self.on_prem.cidrs)]
        for (first, left), (second, right) in combinations(ranges, 2):
            if left.overlaps(right):
                raise ValueError(f"{first} {left} overlaps {second} {right}; give one of them another range")
        return self


def load(data: object) -> StackConfig:
    """The configuration from the object under `hcctl:stack`.

    Raises:
        ConfigError: it is not valid; names the first field to mend.
    """
    if not isinstance(data, Mapping):
        raise ConfigError("hcctl:stack", "it is missing or no mapping", "copy Pulumi.example.yaml and edit it")
    try:
        return StackConfig.model_validate(data)
    except ValidationError as error:
        raise _first(error) from None


def _first(error: ValidationError) -> ConfigError:
    """The first problem; missing fields last, because a misspelt one is both missing and unknown."""
    details = error.errors(include_url=False)
    found = min(details, key=lambda detail: detail["type"] == "missing")
    path, kind = found["loc"], found["type"]
    field = ".".join(map(str, path)) or "hcctl:stack"
    if kind == "missing":
        return ConfigError(field, "it is missing", f"add {path[-1]}; Pulumi.example.yaml shows it")
    if kind == "extra_forbidden":
        known = _fields_at(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        return ConfigError(field, "there is no such field", f"did you mean {close[0]}?" if close else "remove it")
    if kind == "value_error":
        why, _, fix = str(found["ctx"]["error"]).partition("; ")
        word = why.split(maxsplit=1)[0]
        named = ".".join([*map(str, path), word]) if word.replace(".", "_").isidentifier() else field
        return ConfigError(named, why, fix)
    return ConfigError(field, f"{str(found['input'])[:60]!r} will not do", found["msg"][0].lower() + found["msg"][1:])


def _fields_at(path: Sequence[str | int]) -> list[str]:
    """Names of the fields beside the one at the end of a path; of the whole file where a list or choice is passed."""
    here: Any = StackConfig
    for part in path:
        if not (isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields):
            break
        here = here.model_fields[str(part)].annotation
    if isinstance(here, type) and issubclass(here, BaseModel):
        return list(here.model_fields)
    return [name for model in _Model.__subclasses__() for name in model.model_fields]
