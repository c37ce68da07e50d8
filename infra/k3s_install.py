"""The scripts that make a k3s cluster on bare hosts. Pure: text from values.

A file is run only when it has the pinned SHA-256, wherever it came from. Every value in a script has passed the
patterns of `stack_config` and is quoted; the join token comes by standard input, so it stands in no process list.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from urllib.parse import quote

from infra.stack_config import K3sCluster

RELEASES = "https://github.com/k3s-io/k3s/releases/download"
INSTALLERS = "https://raw.githubusercontent.com/k3s-io/k3s"
STAGE = "/var/tmp/hcctl-k3s"  # noqa: S108 - of the host; `prepare_script` makes it anew and closes it
"""Folder on a host for files that are not checked yet."""


@dataclass(frozen=True)
class Staged:
    """A file on the host: where it is put before the check, its hash, and where a host may download it."""

    path: str
    sha256: str
    url: str | None
    """None with air gap: it was copied there."""


def staged_files(k3s: K3sCluster) -> dict[str, Staged]:
    """Binary, installer and, with air gap, images."""
    version = quote(k3s.version, safe="")
    online = k3s.air_gap is None
    found = {
        "binary": Staged(f"{STAGE}/k3s", k3s.files.binary_sha256, f"{RELEASES}/{version}/k3s" if online else None),
        "installer": Staged(
            f"{STAGE}/install.sh", k3s.files.installer_sha256, f"{INSTALLERS}/{version}/install.sh" if online else None
        ),
    }
    if k3s.air_gap and k3s.files.images_sha256:
        found["images"] = Staged(f"{STAGE}/k3s-airgap-images.tar.zst", k3s.files.images_sha256, None)
    return found


def prepare_script(k3s: K3sCluster, root: str = "") -> str:
    """Make the folder for the files anew, closed to all but the user who comes by SSH."""
    return f"rm -rf {root}{STAGE} && install -d -m 0700 -o {shlex.quote(k3s.ssh_user)} {root}{STAGE}"


def server_script(k3s: K3sCluster, root: str = "") -> str:
    """Check, then install the server: secrets encrypted at rest, kubeconfig for root only.

    `root` goes before all paths of the host; empty but in tests.
    """
    run = f"sh {root}{STAGE}/install.sh server --secrets-encryption --write-kubeconfig-mode 0600"
    return "\n".join([*_checked(k3s, root), f"{run} --tls-san {shlex.quote(k3s.server.address)}"])


def agent_script(k3s: K3sCluster, root: str = "") -> str:
    """Check, then join the server; the token is the first line of standard input."""
    return "\n".join(
        [
            *_checked(k3s, root),
            "read -r K3S_TOKEN",
            f"export K3S_TOKEN K3S_URL={shlex.quote(f'https://{k3s.server.address}:6443')}",
            f"sh {root}{STAGE}/install.sh agent",
        ]
    )


def token_script() -> str:
    """Print the token with which agents join."""
    return "cat /var/lib/rancher/k3s/server/node-token"


def kubeconfig_script(k3s: K3sCluster) -> str:
    """Print the administrator's kubeconfig, with the address of the server instead of loopback."""
    return f"sed {shlex.quote(f's/127.0.0.1/{k3s.server.address}/')} /etc/rancher/k3s/k3s.yaml"


def as_root(script: str, user: str) -> str:
    """The script as a command of root; another user needs sudo without a password."""
    command = f"sh -c {shlex.quote(script)}"
    return command if user == "root" else f"sudo -n {command}"


def _checked(k3s: K3sCluster, root: str) -> list[str]:
    """Fetch, compare, put in place; ends with the first failure, before anything of it ran."""
    lines = ["set -eu"]
    files = staged_files(k3s)
    for what, file in files.items():
        path = shlex.quote(root + file.path)
        if file.url:
            lines.append(f"curl -fsSL --proto =https --retry 5 -o {path} {shlex.quote(file.url)}")
        lines.append(
            f'echo "{file.sha256}  "{path} | sha256sum --check --status || '
            f"{{ echo 'the {what} does not have the pinned SHA-256; nothing was installed' >&2; exit 1; }}"
        )
    lines.append(f"install -D -m 0755 {root}{STAGE}/k3s {root}/usr/local/bin/k3s")
    if "images" in files:
        images = f"{root}/var/lib/rancher/k3s/agent/images/k3s-airgap-images.tar.zst"
        lines.append(f"install -D -m 0600 {root}{files['images'].path} {images}")
    lines.append("export INSTALL_K3S_SKIP_DOWNLOAD=true")
    return lines
