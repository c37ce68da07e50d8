"""`hcctl rehearse`: let happen on a local site what only a provider does."""

from __future__ import annotations

import click

from cli import output
from cli.context import open_running
from cli.options import Number


@click.group(name="rehearse")
def command() -> None:
    """Let happen what only a provider does, to see how the project takes it."""


@command.command(name="reclaim")
@click.argument("site")
@click.option("--pool", help="The spot pool whose oldest node goes; the first one that has any if left out.")
@click.option(
    "--notice-s", type=Number(min=0, max=86_400), help="Until the node is gone; the pool's notice_s if unset."
)
def reclaim(site: str, pool: str | None, notice_s: float | None) -> None:
    """Announce that the provider of SITE takes one spot node back.

    Another node is rented at once, from another pool if one has room; `hcctl why` tells it.
    """
    import time
    import uuid

    from cli import intents, wiring
    from serving.errors import HcctlError, InvalidInput
    from serving.sites.notices import add_notice
    from serving.sites.site import Notice

    project, now_s = open_running(), time.time()
    spec = project.spec.sites.get(site)
    if spec is None:
        raise InvalidInput(
            "there is no such site", where=site, next_step=f"use one of: {', '.join(project.spec.sites)}"
        )
    if spec.kind != "local":
        raise InvalidInput(
            "a reclaim can be rehearsed on local sites only",
            where=site,
            why=f"it is of kind {spec.kind}, whose provider takes nodes itself",
            next_step="rehearse on a site of kind local",
        )
    spots = {entry.name: entry for entry in spec.pools if entry.kind == "spot"}
    if not spots or (pool is not None and pool not in spots):
        known = ", ".join(spots) or "none"
        raise InvalidInput("there is no such spot pool", where=f"{site}, {pool or 'any'}", why=f"spot pools: {known}")
    phase = wiring.sites(project)[site].observe().phase
    if phase != "open":
        raise HcctlError("the site is not open", where=site, why=f"it is {phase}", next_step="rehearse during a burst")
    with wiring.store(project.paths) as store:
        nodes = intents.daemon_state(store).nodes
    rented = {node.pool for key, mine in nodes.items() if key.partition("/")[0] == site for node in mine}
    chosen = next((spots[name] for name in ([pool] if pool else spots) if name in rented), None)
    if chosen is None:
        where = f"{site}, {pool or ', '.join(spots)}"
        raise HcctlError(
            "no spot node is rented there", where=where, next_step="rehearse while one is; see `hcctl cost`"
        )
    left_s = chosen.reclaim_notice_s if notice_s is None else notice_s
    notice = Notice(uuid.uuid4().hex[:12], chosen.name, now_s + left_s)
    add_notice(project.paths.site_dir(site), notice, now_s=now_s)
    output.success(f"{site}: pool {chosen.name} takes a node back in {output.seconds(left_s)}; see `hcctl why`")
