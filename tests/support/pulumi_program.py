"""Runs the Pulumi program without its engine: against moto, or only recording what is declared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import mocks
from pulumi.runtime.settings import set_root_resource
from pulumi.runtime.stack import run_pulumi_func

EXAMPLE = Path(__file__).parents[2] / "infra" / "Pulumi.example.yaml"
SECRETS = {
    "sshPrivateKey": "key-of-the-hosts",
    "onPremKubeconfig": "kubeconfig-of-the-hall",
    "grafanaPassword": "password-of-grafana",
}
Create = Callable[[str, str, Mapping[str, Any]], tuple[str, dict[str, Any]]]
"""Type, name and inputs to id and added outputs."""


@dataclass(frozen=True)
class Declared:
    """A resource as the program registered it."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    protected: bool
    ignored: tuple[str, ...]
    """Inputs whose changes are not applied."""
    kept_on_delete: bool
    secret_outputs: tuple[str, ...]
    parent: str
    provider: str


@dataclass
class Applied:
    """One run: what was declared, and the stack's outputs."""

    resources: list[Declared] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    secret_outputs: set[str] = field(default_factory=set)

    def of(self, suffix: str) -> list[Declared]:
        """Resources whose type ends so, such as `:NodeGroup`."""
        return [resource for resource in self.resources if resource.type.endswith(suffix)]


def example() -> dict[str, Any]:
    """The commented example as data."""
    found: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["config"]["hcctl:stack"]
    return found


def run(stack: object, create: Create, *, secrets: Mapping[str, str] = SECRETS) -> Applied:
    """Run the program on this configuration; each AWS resource is given to `create`.

    Raises:
        Exception: whatever the program raises.
    """
    from infra.program import build

    applied = Applied()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # The SDK keeps one root per process, made for the event loop of its time.
    set_root_resource(None)  # type: ignore[arg-type]
    pretended = _Mocks(create)
    mocks.set_mocks(pretended, project="hcctl", stack="test", preview=False, monitor=_Monitor(pretended, applied))
    config = {"hcctl:stack": json.dumps(stack)} | {f"hcctl:{key}": value for key, value in secrets.items()}
    pulumi.runtime.set_all_config(config, secret_keys=[f"hcctl:{key}" for key in secrets])

    async def program() -> None:
        build()
        root = pulumi.runtime.get_root_resource()
        assert root is not None
        for name, value in root.outputs.items():  # type: ignore[attr-defined]
            output = pulumi.Output.from_input(value)
            applied.outputs[name] = await output.future()
            if await output.is_secret():
                applied.secret_outputs.add(name)

    try:
        loop.run_until_complete(run_pulumi_func(program))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        asyncio.set_event_loop(None)
    return applied


def shapes_only(type_: str, name: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A `create` that makes nothing: outputs with the provider's shapes, for runs that look at what is declared."""
    added: dict[str, Any] = {"arn": f"arn:aws:any:us-east-1:123456789012:{name}", "name": inputs.get("name", name)}
    if type_.endswith(":Cluster"):
        added |= {"endpoint": "https://example.com", "certificateAuthority": {"data": "QQ=="}}
    if type_.endswith(":LaunchTemplate"):
        added |= {"latestVersion": 1}
    if type_.endswith(":Queue"):
        added |= {"url": f"https://queue.example.com/{name}"}
    if type_.endswith(":Repository"):
        added |= {"repositoryUrl": f"images.example.com/{name}"}
    return f"{name}-id", added


def _unwrapped(value: Any) -> Any:
    """The value with what is secret in it in plain, to be looked at."""
    if isinstance(value, Mapping):
        if mocks.rpc._special_sig_key in value and "value" in value:
            return _unwrapped(value["value"])
        return {key: _unwrapped(part) for key, part in value.items()}
    return [_unwrapped(part) for part in value] if isinstance(value, list) else value


class _Mocks(mocks.Mocks):
    def __init__(self, create: Create) -> None:
        self._create = create

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"the program asks AWS while it runs: {args.token}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        inputs = dict(args.inputs)
        if args.typ.startswith("aws:"):
            id_, added = self._create(args.typ, args.name, inputs)
            return id_, inputs | added
        if args.typ == "command:remote:Command":
            return args.name, inputs | {"stdout": f"output of {args.name}", "stderr": ""}
        return f"{args.name}-id", inputs


class _Monitor(mocks.MockMonitor):
    """Notes the options of each resource, which the mocks do not get to see."""

    def __init__(self, pretended: mocks.Mocks, applied: Applied) -> None:
        super().__init__(pretended)
        self._applied = applied

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        if request.type != "pulumi:pulumi:Stack":
            self._applied.resources.append(
                Declared(
                    type=request.type,
                    name=request.name,
                    inputs=_unwrapped(mocks.rpc.deserialize_properties(request.object)),
                    protected=request.protect,
                    ignored=tuple(request.ignoreChanges),
                    kept_on_delete=request.retainOnDelete,
                    secret_outputs=tuple(request.additionalSecretOutputs),
                    parent=request.parent,
                    provider=request.provider,
                )
            )
        return super().RegisterResource(request)
