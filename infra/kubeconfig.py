"""Kubeconfigs, as text. Pure."""

from __future__ import annotations

import json


def eks_kubeconfig(name: str, region: str, endpoint: str, certificate: str) -> str:
    """For EKS, in JSON, which is YAML: no secret in it, the AWS CLI gets a short-lived token for whoever calls."""
    login = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": ["eks", "get-token", "--cluster-name", name, "--region", region],
        "interactiveMode": "Never",
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": certificate}}],
            "users": [{"name": name, "user": {"exec": login}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )
