"""Calls to AWS: the clients, and what their errors mean here. boto3 is imported when a client is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autoscaler.capacity.port import NoRoom, NotNow
from serving.errors import HcctlError

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 3.0, 10.0

_NOT_NOW = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "ServiceUnavailable",
        "InternalFailure",
        "InternalError",
        "ServerException",
        "ResourceInUseException",
        "ResourceContention",
        "ScalingActivityInProgress",
    }
)
"""Asked too often, AWS is at fault, or a former change is still going on."""
_NO_ROOM = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "ResourceLimitExceededException",
        "VcpuLimitExceeded",
    }
)


@dataclass(frozen=True)
class Clients:
    """One boto3 client for each service that is asked."""

    ec2: Any
    autoscaling: Any
    eks: Any
    sqs: Any
    quotas: Any


def connect(region: str) -> Clients:
    """Clients of a region, by the credentials of the usual places. None of them is asked anything yet.

    Raises:
        HcctlError: boto3 is not installed.
    """
    return Clients(*(client(name, region) for name in ("ec2", "autoscaling", "eks", "sqs", "service-quotas")))


def client(service: str, region: str) -> Any:
    """One client that asks once: pauses are the daemon's, which shows them and lets other sites go on meanwhile.

    Raises:
        HcctlError: boto3 is not installed.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise HcctlError(
            "AWS cannot be asked without boto3",
            where=region,
            why="it is not installed",
            next_step="pip install 'hcctl[aws]'",
        ) from None
    once = Config(retries={"total_max_attempts": 1}, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)
    return boto3.session.Session(region_name=region).client(service, config=once)


@contextlib.contextmanager
def asking(what: str, where: str) -> Iterator[None]:
    """Turn errors of AWS into ours.

    Raises:
        NotNow: it was asked too often, or is busy.
        NoRoom: it has no machine of the kind, or a limit is reached.
        HcctlError: it refuses or does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        code, why = str(said.get("Code", "")), f"{said.get('Code')}: {said.get('Message', '')}"[:300]
        kind = NotNow if code in _NOT_NOW else NoRoom if code in _NO_ROOM else HcctlError
        denied = code.startswith("AccessDenied") or code == "UnauthorizedOperation"
        step = f"give the daemon's role the right to {error.operation_name}" if denied else ""
        raise kind(what, where=where, why=why, next_step=step) from None
    except BotoCoreError as error:
        raise HcctlError(what, where=where, why=f"{type(error).__name__}: {error}"[:300]) from None
