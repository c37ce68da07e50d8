"""Who is told by e-mail when the month gets dear. It tells; the caps of hcctl act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.stack_config import BudgetConfig
from infra.tagging import STACK_TAG


@dataclass(frozen=True)
class BudgetAlarmArgs:
    """What the alarm is made from."""

    config: BudgetConfig
    account_id: str
    stack_name: str
    tags: Mapping[str, str]


class BudgetAlarm(pulumi.ComponentResource):
    """A monthly budget over what carries the stack's tag, with alarms on actual and forecast cost.

    Counts only once the tag is activated as a cost allocation tag in the account's billing settings.
    """

    def __init__(self, name: str, args: BudgetAlarmArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:BudgetAlarm", name, None, opts)
        alarms = [(percent, "ACTUAL") for percent in args.config.alert_percents] + [(100, "FORECASTED")]
        aws.budgets.Budget(
            name,
            account_id=args.account_id,
            name=name,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{args.config.usd_per_month:.2f}",
            limit_unit="USD",
            cost_filters=[
                aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:{STACK_TAG}${args.stack_name}"])
            ],
            # E-mail directly: a topic between would need a key whose policy lets the budget service in.
            notifications=[
                aws.budgets.BudgetNotificationArgs(
                    comparison_operator="GREATER_THAN",
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    notification_type=kind,
                    subscriber_email_addresses=list(args.config.emails),
                )
                for percent, kind in alarms
            ],
            tags=dict(args.tags),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
