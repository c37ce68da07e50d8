"""Outputs of a stack as `hcctl infra outputs -o json` writes them."""

from __future__ import annotations

import json
from typing import Any

from infra.kubeconfig import eks_kubeconfig


def stack_outputs(**changes: Any) -> dict[str, Any]:
    """Those of the example stack; changes replace whole outputs."""
    pools = [
        ("a10g-spot", "spot", ["g5.xlarge", "g5.2xlarge"], 8),
        ("a10g", "on_demand", ["g5.xlarge"], 4),
    ]
    found = {
        "format": 1,
        "name": "hcctl-prod",
        "region": "us-east-1",
        "account_id": "123456789012",
        "namespace": "hcctl",
        "cluster_arn": "arn:aws:eks:us-east-1:123456789012:cluster/hcctl-prod",
        "cluster_endpoint": "https://A.gr7.us-east-1.eks.amazonaws.com",
        "kubeconfig": eks_kubeconfig("hcctl-prod", "us-east-1", "https://A.gr7.us-east-1.eks.amazonaws.com", "QQ=="),
        "on_prem_kubeconfig": None,
        "pools": [
            {"name": n, "capacity": c, "gpu": "a10g", "instance_types": t, "min_nodes": 0, "max_nodes": most}
            for n, c, t, most in pools
        ],
        "daemon_role_arn": "arn:aws:iam::123456789012:role/hcctl-prod-daemon",
        "replica_role_arn": "arn:aws:iam::123456789012:role/hcctl-prod-replica",
        "replica_service_account": "hcctl-replica",
        "model_bucket": "hcctl-prod-models-123456789012-us-east-1",
        "model_key_arn": "arn:aws:kms:us-east-1:123456789012:key/k",
        "repository_urls": {"hcctl/serve": "123456789012.dkr.ecr.us-east-1.amazonaws.com/hcctl-prod/hcctl/serve"},
        "reclaim_queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/hcctl-prod-reclaims",
        "vpc_id": "vpc-1",
        "vpn_connection_id": None,
    }
    return json.loads(json.dumps(found | changes))  # type: ignore[no-any-return]
