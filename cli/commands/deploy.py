"""`hcctl deploy`: bring a version of a service to all its open sites, with one verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.context import load_service, open_running
from cli.options import wait_options

if TYPE_CHECKING:
    from cli.context import Project
    from serving.manifest import Manifest
    from serving.registry import Registry
    from serving.spec import HybridService


@click.command(name="deploy")
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Service file. [default: service.yaml of the project]",
)
@click.option(
    "--version", "version", default=None, metavar="REF", help="Version or unique prefix. [default: the latest]"
)
@wait_options(600.0)
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@output.output_option
def command(
    file: Path | None, version: str | None, timeout_s: float, no_wait: bool, dry_run: bool, output_format: output.Output
) -> None:
    """Bring a version of a service to all its sites.

    Every open site loads it, answers probes and carries a share of the requests before
    the verdict; if one site fails, all return. A closed site loads it when it next opens.
    Exit code 4: rolled back, the former version serves.
    """
    from autoscaler.snapshot import Wanted
    from cli import intents, wiring

    project = open_running()
    spec = load_service(file, project)
    with wiring.store(project.paths) as store:
        registry = wiring.registry(project.paths)
        manifest = _version(registry, spec, version, dry_run=dry_run)
        before = store.intent("service", spec.name)
        rows = _plan(project, spec, manifest, intents.daemon_state(store))
        if dry_run:
            output.emit(rows, output_format, title=f"{spec.name}: {manifest.version[:12] if manifest else 'code only'}")
            return
        wiring.require_daemon(project.paths)
        intents.refuse_shared_prefix(store, spec)
        if manifest is None:
            raise AssertionError("a version is made unless this is a dry run")
        for row in rows:
            output.progress(f"{row['site']}: {row['first_replica']}")
        wiring.replicate(project, registry.directory(manifest.version))
        wanted = Wanted(intents.new_deployment(), manifest.version, str(registry.directory(manifest.version)))
        intents.request(store, spec, wanted, before.revision if before else 0)
        if no_wait:
            output.emit({"deployment": wanted.deployment, "version": manifest.version}, output_format)
            return
        release = intents.watch_release(
            store,
            wanted.deployment,
            timeout_s=timeout_s,
            say=output.progress,
            alive=lambda: wiring.daemon_alive(project.paths),
        )
    output.success(f"{spec.name} serves version {manifest.version[:12]}")
    if output_format != "table":
        output.emit(
            {"deployment": wanted.deployment, "version": manifest.version, "verdict": release.verdict}, output_format
        )


def _version(registry: Registry, spec: HybridService, ref: str | None, *, dry_run: bool) -> Manifest | None:
    """The version to deploy. A service with no pushed version is code only: an empty artefact."""
    if ref is not None:
        return registry.resolve(ref, spec.name)
    if any(manifest.name == spec.name for manifest in registry.list()):
        return registry.resolve("latest", spec.name)
    if dry_run:
        return None
    import tempfile
    import time

    with tempfile.TemporaryDirectory() as empty:
        return registry.push(
            Path(empty),
            name=spec.name,
            config={},
            metrics={},
            schema={},
            provenance={"created_by": "hcctl deploy"},
            at_s=time.time(),
        )


def _plan(project: Project, spec: HybridService, manifest: Manifest | None, state: Any) -> list[dict[str, Any]]:
    """Per site: what serves, and where the new version's first replica comes from."""
    from autoscaler.routing.release import SiteRelease, origin
    from autoscaler.state import ServiceState
    from serving.application import application_name

    mine = state.services.get(spec.name, ServiceState())
    same = (
        manifest is not None
        and mine.stable is not None
        and (mine.stable.application == application_name(spec, manifest.version))
    )
    rows = []
    for site, share in spec.sites.items():
        target = mine.targets.get(site, 0)
        others = sum(s.targets.get(site, 0) for name, s in state.services.items() if name != spec.name)
        room = max(0, min(share.max_replicas, project.spec.sites[site].max_nodes - others))
        if same:
            text = "this version already serves"
        elif mine.stable is None and max(share.min_replicas, site == project.spec.private_site) > 0:
            text = "first version: starts with the least capacity"
        elif target == 0:
            text = "closed; loads and is probed when it next opens, before any traffic"
        else:
            text = _ORIGINS[origin(SiteRelease(target=target, room=room))]
        serving = mine.stable.version[:12] if mine.stable else None
        rows.append({"site": site, "serving": serving, "replicas": target, "room": room, "first_replica": text})
    return rows


_ORIGINS = {
    "surge": "surge: one more replica beside the stable ones",
    "take over": "take over: one stable replica makes room",
    "rent": "rent: a cloud replica carries the load while the only one is renewed",
}
