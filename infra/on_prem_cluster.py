"""The private site's cluster: one that is there, or k3s on bare hosts."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_command as command

from infra import k3s_install
from infra.stack_config import AirGap, ExistingCluster, K3sCluster, K3sHost


@dataclass(frozen=True)
class OnPremClusterArgs:
    """What the cluster is made from. The secret is that of its kind, the other is None."""

    config: ExistingCluster | K3sCluster
    kubeconfig: pulumi.Output[str] | None
    ssh_private_key: pulumi.Output[str] | None


class OnPremCluster(pulumi.ComponentResource):
    """A kubeconfig, whoever made the cluster. `destroy` leaves the hosts of k3s as they are: they may serve."""

    kubeconfig: pulumi.Output[str]
    """Secret."""

    def __init__(self, name: str, args: OnPremClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:OnPremCluster", name, None, opts)
        self._name, self._key = name, args.ssh_private_key
        if isinstance(args.config, ExistingCluster):
            if args.kubeconfig is None:
                raise ValueError("an existing cluster comes with its kubeconfig")
            self.kubeconfig = pulumi.Output.secret(args.kubeconfig)
        else:
            self.kubeconfig = self._k3s(args.config)
        self.register_outputs({})

    def _k3s(self, k3s: K3sCluster) -> pulumi.Output[str]:
        """Install the server, then all agents at once; the kubeconfig is read back."""
        server = self._install(k3s, k3s.server, "server", k3s_install.server_script(k3s), None)
        token: pulumi.Output[str] = pulumi.Output.secret(
            self._run(k3s, k3s.server, "token", k3s_install.token_script(), [server]).stdout
        )
        for agent in k3s.agents:
            label = f"agent-{agent.address}"
            self._install(k3s, agent, label, k3s_install.agent_script(k3s), token.apply("{}\n".format))
        found = self._run(k3s, k3s.server, "kubeconfig", k3s_install.kubeconfig_script(k3s), [server])
        return pulumi.Output.secret(found.stdout)

    def _install(
        self, k3s: K3sCluster, host: K3sHost, label: str, script: str, stdin: pulumi.Output[str] | None
    ) -> command.remote.Command:
        before: list[pulumi.Resource] = [
            self._run(k3s, host, f"{label}-prepare", k3s_install.prepare_script(k3s), [], again_with=script)
        ]
        if k3s.air_gap:
            before = self._copied(k3s, k3s.air_gap, host, label, before)
        return self._run(k3s, host, label, script, before, stdin=stdin)

    def _copied(
        self, k3s: K3sCluster, air_gap: AirGap, host: K3sHost, label: str, after: list[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """The three files, brought to the host from the computer that runs Pulumi."""
        sources = {"binary": air_gap.binary, "installer": air_gap.installer, "images": air_gap.images}
        return [
            command.remote.CopyToRemote(
                f"{self._name}-{label}-{what}",
                connection=self._connection(k3s, host),
                source=pulumi.FileAsset(sources[what]),
                remote_path=file.path,
                triggers=[file.sha256],
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )
            for what, file in k3s_install.staged_files(k3s).items()
        ]

    def _run(
        self,
        k3s: K3sCluster,
        host: K3sHost,
        label: str,
        script: str,
        after: list[pulumi.Resource],
        *,
        stdin: pulumi.Output[str] | None = None,
        again_with: str = "",
    ) -> command.remote.Command:
        """Run a script as root of the host, again when it or `again_with` changes. What it prints is secret."""
        return command.remote.Command(
            f"{self._name}-{label}",
            connection=self._connection(k3s, host),
            create=k3s_install.as_root(script, k3s.ssh_user),
            stdin=stdin,
            triggers=[again_with] if again_with else None,
            logging=command.remote.Logging.NONE,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=after,
                additional_secret_outputs=["stdout", "stderr"],
                retain_on_delete=True,
            ),
        )

    def _connection(self, k3s: K3sCluster, host: K3sHost) -> command.remote.ConnectionArgs:
        return command.remote.ConnectionArgs(
            host=host.address, host_key=host.host_key, user=k3s.ssh_user, private_key=self._key
        )
