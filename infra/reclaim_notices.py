"""The queue on which AWS says that it takes a spot machine back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.policies import queue_policy

EVENTS = {
    "interruption": "EC2 Spot Instance Interruption Warning",
    "rebalance": "EC2 Instance Rebalance Recommendation",
}
"""Two minutes before the end, and, without promise, earlier."""
KEPT_S = 3_600
"""A notice is worthless once the machine is gone."""
HIDDEN_S = 60
"""A notice that a daemon took and did not delete is seen again after this."""


@dataclass(frozen=True)
class ReclaimNoticesArgs:
    """What the queue is made from."""

    tags: Mapping[str, str]


class ReclaimNotices(pulumi.ComponentResource):
    """Event rules and one encrypted queue.

    The rules match every machine of the account: events carry no tags, so the daemon drops what is not of its pools.
    """

    queue: aws.sqs.Queue

    def __init__(self, name: str, args: ReclaimNoticesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:ReclaimNotices", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        tags = {**args.tags, "Name": name}
        self.queue = aws.sqs.Queue(
            name,
            name=name,
            message_retention_seconds=KEPT_S,
            visibility_timeout_seconds=HIDDEN_S,
            # EventBridge may send to a queue with SQS's own key; a key of ours would need one more policy.
            sqs_managed_sse_enabled=True,
            tags=tags,
            opts=inside,
        )
        rules = {}
        for kind, event in EVENTS.items():
            rules[kind] = aws.cloudwatch.EventRule(
                f"{name}-{kind}",
                name=f"{name}-{kind}",
                event_pattern=json.dumps({"source": ["aws.ec2"], "detail-type": [event]}),
                tags=tags,
                opts=inside,
            )
            aws.cloudwatch.EventTarget(
                f"{name}-{kind}", rule=rules[kind].name, target_id="queue", arn=self.queue.arn, opts=inside
            )
        aws.sqs.QueuePolicy(
            name,
            queue_url=self.queue.url,
            policy=pulumi.Output.all(self.queue.arn, *(rule.arn for rule in rules.values())).apply(
                lambda arns: json.dumps(queue_policy(arns[0], arns[1:]))
            ),
            opts=inside,
        )
        self.register_outputs({"queue_url": self.queue.url})
