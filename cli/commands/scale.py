"""`hcctl scale`: hold a service at replica counts set by hand, or let it go."""

from __future__ import annotations

import re

import click
from pydantic import JsonValue

from cli import output
from cli.context import open_running

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _duration_s(text: str) -> float:
    """`90s`, `30m`, `2h` or `1d` in seconds."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text.strip())
    if not found or float(found[1]) == 0:
        raise click.BadParameter(f"{text[:40]!r} is no duration; write for example 90s, 30m or 2h", param_hint="--for")
    return float(found[1]) * _UNITS_S[found[2]]


def _counts(pairs: tuple[str, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for pair in pairs:
        site, _, number = pair.partition("=")
        if not site or not re.fullmatch(r"\d{1,5}", number) or site in counts:
            raise click.BadParameter(
                f"{pair[:60]!r}: write SITE=REPLICAS once per site, e.g. cloud=2", param_hint="SITE=N"
            )
        counts[site] = int(number)
    return counts


@click.command(name="scale")
@click.argument("service")
@click.argument("counts", nargs=-1, metavar="[SITE=N]...")
@click.option("--for", "duration", default="30m", show_default=True, help="How long: 90s, 30m, 2h, 1d.")
@click.option("--reason", default="set by hand", show_default=True, help="Kept in the decision log.")
@click.option("--release", is_flag=True, help="Let it go: the autoscaler decides again.")
def command(service: str, counts: tuple[str, ...], duration: str, reason: str, release: bool) -> None:
    """Hold sites of a service at fixed replica counts for a while.

    Spend caps still win. Exit code 5: the budget does not pay for it.
    """
    import time

    from cli import intents, wiring
    from serving.errors import InvalidInput

    project, now_s = open_running(), time.time()
    with wiring.store(project.paths) as store:
        name = intents.pick_service(store, service)
        if release:
            store.delete_intent("hold", name)
            output.success(f"{name}: the autoscaler decides")
            return
        wanted = _counts(counts)
        intent = intents.service_intent(store, name)
        if not wanted or intent is None:
            raise InvalidInput("no site is given", where="SITE=N", next_step=f"e.g. `hcctl scale {name} cloud=2`")
        for site, replicas in wanted.items():
            share = intent.spec.sites.get(site)
            if share is None:
                known = ", ".join(intent.spec.sites)
                raise InvalidInput("the service has no such site", where=site, next_step=f"use one of: {known}")
            if not share.min_replicas <= replicas <= share.max_replicas:
                allowed = f"{share.min_replicas} to {share.max_replicas}"
                raise InvalidInput("not allowed by the service", where=f"{site}={replicas}", next_step=f"use {allowed}")
        wiring.refuse_over_budget(project, store, intent.spec, wanted, now_s)
        until_s = now_s + _duration_s(duration)
        body: dict[str, JsonValue] = {"replicas": {**wanted}, "until_s": until_s, "reason": reason[:200]}
        store.put_intent("hold", name, body, expected_revision=None, at_s=now_s)
        shadow = any(body.body.get("scaling") == "shadow" for body in store.observations("service"))
    if shadow:
        output.warning("the autoscaler runs in shadow mode: it records what it would do, and changes nothing")
    output.success(f"{name}: held at {', '.join(f'{s}={n}' for s, n in wanted.items())} for {duration}")
