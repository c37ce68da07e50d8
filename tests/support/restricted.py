"""The restricted Pod Security Standard, as a check."""

from __future__ import annotations

from typing import Any


def unrestricted(spec: dict[str, Any], least_user: int = 10_000) -> list[str]:
    """What a pod has against the restricted standard (https://kubernetes.io/docs/concepts/security)."""
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(key)]
    kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        found += [f"volume {kind}" for kind in set(volume) - {"name"} - kinds]
    pod = spec.get("securityContext", {})
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("seccomp")
    if not pod.get("runAsNonRoot") or not pod.get("runAsUser", 0) >= least_user:
        found.append("root")
    if spec.get("enableServiceLinks", True):
        found.append("service links")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append("privileges")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append("capabilities")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append("writable root")
        found += ["host port" for port in container.get("ports", []) if "hostPort" in port]
    return found
