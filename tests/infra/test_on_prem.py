"""The private site's cluster: what is run on its hosts, really run here in a folder that stands for a host."""

from __future__ import annotations

import getpass
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra import k3s_install
from infra.stack_config import ConfigError, K3sCluster, load
from tests.support.pulumi_program import Applied, example, run, shapes_only

BINARY, IMAGES = b"binary", b"images"
INSTALLER = (
    b'#!/bin/sh\necho "$@" >> "$HOST_LOG"\necho "$INSTALL_K3S_SKIP_DOWNLOAD $K3S_URL $K3S_TOKEN" >> "$HOST_LOG"\n'
)


def k3s(*, air_gap: bool, binary: bytes = BINARY) -> K3sCluster:
    """The example's cluster, with the hashes of the files above."""
    stack = example()
    cluster = stack["on_prem"]["cluster"]
    cluster["ssh_user"] = getpass.getuser()
    cluster["files"] = {
        "binary_sha256": hashlib.sha256(binary).hexdigest(),
        "installer_sha256": hashlib.sha256(INSTALLER).hexdigest(),
        "images_sha256": hashlib.sha256(IMAGES).hexdigest(),
    }
    if not air_gap:
        cluster["air_gap"] = None
    on_prem = load(stack).on_prem
    assert on_prem is not None
    assert isinstance(on_prem.cluster, K3sCluster)
    return on_prem.cluster


def on_host(script: str, host: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script as SSH would; a `curl` that reads from a folder stands for the internet."""
    tools = host / "tools"
    tools.mkdir(exist_ok=True)
    curl = tools / "curl"
    curl.write_text(
        '#!/bin/sh\nwhile [ $# -gt 1 ]; do case "$1" in -o) to="$2";; esac; shift; done\n'
        'cp "$HOST_WEB/$(basename "$1")" "$to"\n'
    )
    curl.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOST_WEB": str(host / "web"),
        "HOST_LOG": str(host / "log"),
    }
    return subprocess.run(
        ["sh", "-c", script], input=stdin, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host that can download the release."""
    web = tmp_path / "web"
    web.mkdir()
    (web / "k3s").write_bytes(BINARY)
    (web / "install.sh").write_bytes(INSTALLER)
    return tmp_path


def test_a_server_downloads_checks_and_installs(host: Path) -> None:
    """The pinned files are put in place and the installer is run without a download of its own."""
    cluster = k3s(air_gap=False)
    assert on_host(k3s_install.prepare_script(cluster, str(host)), host).returncode == 0
    done = on_host(k3s_install.server_script(cluster, str(host)), host)
    assert done.returncode == 0, done.stderr
    assert (host / "usr/local/bin/k3s").read_bytes() == BINARY
    options, environment = (host / "log").read_text().splitlines()
    assert options == "server --secrets-encryption --write-kubeconfig-mode 0600 --tls-san 192.168.10.10"
    assert environment.split() == ["true"]


@pytest.mark.parametrize("file", ["k3s", "install.sh"])
def test_a_file_with_another_hash_is_never_run(host: Path, file: str) -> None:
    """One changed byte, and the host stays as it was; the message says which file."""
    cluster = k3s(air_gap=False)
    (host / "web" / file).write_bytes(b"something else")
    on_host(k3s_install.prepare_script(cluster, str(host)), host)
    done = on_host(k3s_install.server_script(cluster, str(host)), host)
    assert done.returncode == 1
    assert "does not have the pinned SHA-256; nothing was installed" in done.stderr
    assert not (host / "usr/local/bin/k3s").exists()
    assert not (host / "log").exists()


def test_with_air_gap_nothing_is_downloaded(host: Path) -> None:
    """The files come by SSH; the images are put where k3s finds them; there is no address in the script."""
    cluster = k3s(air_gap=True)
    on_host(k3s_install.prepare_script(cluster, str(host)), host)
    stage = host / k3s_install.STAGE.lstrip("/")
    for name, content in (("k3s", BINARY), ("install.sh", INSTALLER), ("k3s-airgap-images.tar.zst", IMAGES)):
        (stage / name).write_bytes(content)
    script = k3s_install.server_script(cluster, str(host))
    assert "https://" not in script
    assert on_host(script, host).returncode == 0
    images = host / "var/lib/rancher/k3s/agent/images/k3s-airgap-images.tar.zst"
    assert images.read_bytes() == IMAGES


def test_an_agent_joins_with_a_token_from_standard_input(host: Path) -> None:
    """The token reaches the installer, and stands in no script and no argument."""
    cluster = k3s(air_gap=False)
    on_host(k3s_install.prepare_script(cluster, str(host)), host)
    script = k3s_install.agent_script(cluster, str(host))
    assert on_host(script, host, stdin="K10secret\n").returncode == 0
    options, environment = (host / "log").read_text().splitlines()
    assert options == "agent"
    assert environment == "true https://192.168.10.10:6443 K10secret"


def test_the_staging_folder_is_made_anew_and_closed(host: Path) -> None:
    """What somebody else left there is gone, and nobody else can write there before the check."""
    cluster = k3s(air_gap=False)
    stage = host / k3s_install.STAGE.lstrip("/")
    stage.mkdir(parents=True)
    (stage / "k3s").write_bytes(b"planted")
    assert on_host(k3s_install.prepare_script(cluster, str(host)), host).returncode == 0
    assert list(stage.iterdir()) == []
    assert stage.stat().st_mode & 0o777 == 0o700


def test_another_user_needs_sudo_without_a_password() -> None:
    """Scripts run as root, whoever comes; quoting survives."""
    assert k3s_install.as_root("echo 'a b'", "root") == """sh -c 'echo '"'"'a b'"'"''"""
    assert k3s_install.as_root("true", "ubuntu") == "sudo -n sh -c true"


def applied_with(cluster: dict[str, Any], **secrets: str) -> Applied:
    """The example with another on-prem cluster."""
    stack = example()
    stack["on_prem"]["cluster"] = cluster
    return run(stack, shapes_only, secrets={"grafanaPassword": "gp", **secrets})


def test_an_existing_cluster_is_taken_as_it_is() -> None:
    """With a kubeconfig no host is touched, and the kubeconfig is an output, secret."""
    applied = applied_with({"kind": "kubeconfig"}, onPremKubeconfig="kubeconfig-of-the-hall")
    assert applied.of("remote:Command") == []
    assert applied.outputs["on_prem_kubeconfig"] == "kubeconfig-of-the-hall"
    assert applied.secret_outputs == {"on_prem_kubeconfig"}


@pytest.mark.parametrize(("cluster", "key"), [({"kind": "kubeconfig"}, "onPremKubeconfig"), (None, "sshPrivateKey")])
def test_a_secret_that_is_not_set_is_asked_for(cluster: dict[str, Any] | None, key: str) -> None:
    """The error is the command that sets it."""
    with pytest.raises(ConfigError, match=f"pulumi config set --secret hcctl:{key}"):
        applied_with(cluster or example()["on_prem"]["cluster"])


def test_every_host_is_known_by_its_key() -> None:
    """No connection is made to a host whose key is not the declared one."""
    applied = run(example(), shapes_only)
    calls = [*applied.of("remote:Command"), *applied.of("remote:CopyToRemote")]
    keys = {call.inputs["connection"]["host"]: call.inputs["connection"]["hostKey"] for call in calls}
    cluster = example()["on_prem"]["cluster"]
    assert keys == {host["address"]: host["host_key"] for host in (cluster["server"], *cluster["agents"])}
