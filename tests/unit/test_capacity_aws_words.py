"""What AWS says about reclaims and quotas, read."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from autoscaler.capacity.aws_calls import asking
from autoscaler.capacity.aws_words import quota_code, read_interruption
from autoscaler.capacity.port import NoRoom, NotNow
from serving.errors import HcctlError

EVENT = {
    "version": "0",
    "id": "12345678-1234-1234-1234-123456789012",
    "detail-type": "EC2 Spot Instance Interruption Warning",
    "source": "aws.ec2",
    "account": "123456789012",
    "time": "2027-01-15T08:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:ec2:us-east-1a:instance/i-0abc"],
    "detail": {"instance-id": "i-0abc", "instance-action": "terminate"},
}
"""The form of AWS's documentation."""


def test_a_warning_names_machine_and_end() -> None:
    """The machine is gone two minutes after the event's own time, however late it is read."""
    found = read_interruption(json.dumps(EVENT))
    assert found is not None
    assert (found.machine, found.ends_s) == ("i-0abc", 1_800_000_000.0 + 120.0)


def test_a_recommendation_is_no_reclaim() -> None:
    """A rebalance recommendation promises no end, and is not taken for one."""
    assert read_interruption(json.dumps(EVENT | {"detail-type": "EC2 Instance Rebalance Recommendation"})) is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        "[" * 100_000,
        json.dumps(EVENT | {"time": "soon"}),
        json.dumps(EVENT | {"time": 7}),
        json.dumps(EVENT | {"detail": None}),
        json.dumps({**EVENT, "detail": {}}),
    ],
)
def test_what_is_no_event_is_refused_by_name(body: str) -> None:
    """Whoever may write into the queue can send anything: it is one error, never another one."""
    with pytest.raises(ValueError, match=r".+"):
        read_interruption(body)


@pytest.mark.parametrize(
    ("kind", "spot", "code"),
    [
        ("g5.xlarge", False, "L-DB2E81BA"),
        ("g6e.12xlarge", True, "L-3819A6DF"),
        ("gr6.4xlarge", False, "L-DB2E81BA"),
        ("vt1.3xlarge", False, "L-DB2E81BA"),
        ("p4d.24xlarge", False, "L-417A185B"),
        ("p4d.24xlarge", True, "L-7212CCBC"),
        ("p5.48xlarge", True, None),
        ("m7i.large", False, "L-1216C47A"),
        ("c7i.large", True, "L-34B43A08"),
        ("inf2.xlarge", False, None),
        ("trn1.2xlarge", False, None),
        ("mac2.metal", False, None),
        ("u-6tb1.metal", False, None),
        ("", False, None),
    ],
)
def test_each_machine_counts_against_its_quota(kind: str, spot: bool, code: str | None) -> None:
    """By the letters before the first digit, on-demand and spot apart; a class that is not known has none."""
    assert quota_code(kind, spot=spot) == code


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttling", NotNow),
        ("RequestLimitExceeded", NotNow),
        ("ResourceInUseException", NotNow),
        ("InsufficientInstanceCapacity", NoRoom),
        ("VcpuLimitExceeded", NoRoom),
        ("ValidationError", HcctlError),
    ],
)
def test_errors_of_aws_say_what_can_be_done(code: str, kind: type[HcctlError]) -> None:
    """Ask later, go elsewhere, or neither: told by the type; AWS's own words are in the text."""
    with pytest.raises(HcctlError, match=f"{code}: said") as caught, asking("it failed", "spot"):
        raise ClientError({"Error": {"Code": code, "Message": "said"}}, "DescribeNodegroup")
    assert type(caught.value) is kind


def test_a_missing_right_is_named() -> None:
    """The error says which call the role lacks."""
    with pytest.raises(HcctlError, match="the right to UpdateNodegroupConfig"), asking("it failed", "spot"):
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "UpdateNodegroupConfig")


def test_silence_is_an_error_of_ours() -> None:
    """Without a network there is one error, and nothing is known."""
    with pytest.raises(HcctlError, match="EndpointConnectionError"), asking("it failed", "spot"):
        raise EndpointConnectionError(endpoint_url="https://ec2")
