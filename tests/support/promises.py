"""What is promised whatever happens: checked in each second of a siege, after each crash, and at its end.

1. Capacity: no site is ever asked for more than one machine beyond its size, and at rest nothing is left that
   nobody wants: no orphan, nothing twice.
2. Money: no hour costs more than its cap, except for what ran while nobody could give it back.
3. Traffic: the gateway's limits never exceed what is really ready on a site that tells the truth.
4. Intents: what a command was told is written, is there after any crash; what died half-way is whole or absent.
5. Releases: each that was taken up ends in exactly one verdict, stored.
6. Rest: when faults stop, the service is served at home, the cloud is given back, and nothing is done any more, but
   that policy `predictive` lets an owned replica go now and then, as its forecast grows surer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from serving.gateway.routes import TRACKS

if TYPE_CHECKING:
    from autoscaler.step import Step
    from tests.support.siege import Siege

HOUR_S = 3_600
SURPLUS = 1
"""Machines beyond what is wanted that a lying listing may cost."""


def watch(siege: Siege, step: Step) -> None:
    """After each tick of the daemon."""
    for name, site in siege.sites.items():
        size = siege.fleet.sites[name].max_nodes
        if site.nodes() > size + SURPLUS:
            _broken(siege, f"capacity: {site.nodes()} nodes on {name}, which has {size}")
    if siege.gateway.running and not siege.executor.delay_s and not siege.executor.pending:
        _traffic(siege, step)
    for deployment, verdicts in siege.account.verdicts.items():
        if len(verdicts) > 1:
            _broken(siege, f"release: {deployment} ended as {sorted(verdicts)}")


def _traffic(siege: Siege, step: Step) -> None:
    for routes in step.plan.routes:
        for track in TRACKS:
            route = routes.stable if track == "stable" else routes.candidate
            name = route.path_prefix.strip("/")
            for server in route.servers:
                if server.limit and not siege.sites[server.site].helpless:
                    slots = siege.slots(name, server.site)
                    if server.limit > slots:
                        _broken(siege, f"traffic: limit {server.limit} for {name} on {server.site}, {slots} slots")


def watch_money(siege: Siege) -> None:
    """In each second of the world."""
    hour, dearest = int(siege.clock()) // HOUR_S, 0.0
    for name, site in siege.sites.items():
        if siege.fleet.sites[name].role != "cloud":
            continue
        price = max(pool.price_usd_per_hour for pool in siege.fleet.sites[name].pools)
        siege.account.spent_usd[hour] += site.nodes() * price / HOUR_S
        dearest += siege.fleet.sites[name].max_nodes * price / HOUR_S
        if site.helpless or siege.executor.delay_s or siege.clock() < siege.away_until_s + 2:
            siege.account.helpless_s[hour] += 1
    cap = siege.highest_cap(hour)
    allowed = cap + dearest * siege.account.helpless_s[hour] if cap is not None else None
    if allowed is not None and siege.account.spent_usd[hour] > allowed + 1e-9 and not siege.skewed:
        _broken(siege, f"money: {siege.account.spent_usd[hour]:.4f} usd of {allowed:.4f}")


def watch_intents(siege: Siege) -> None:
    """After each crash."""
    found = siege.store.intent("service", "shop")
    standing = _plain(found.body) if found else None
    account = siege.account
    if standing is None and (account.wanted.get("remove") or not account.wanted):
        account.wanted, account.maybe = {}, []
        return
    for body in (account.wanted, *account.maybe):
        if standing == _plain(body):
            account.wanted, account.maybe = body, []
            return
    _broken(siege, f"intent: {standing} stands, {account.wanted} was acknowledged")


def rested(siege: Siege) -> list[str]:
    """What is broken at the end, everything before included."""
    assert siege.daemon is not None
    mine = siege.daemon.state.services.get("shop")
    if mine is None or mine.stable is None or mine.release is not None:
        _broken(siege, f"rest: no version serves, or a release goes on: {mine}")
        return siege.broken
    home, cloud = siege.sites["private"], siege.sites["cloud"]
    if home.truly_ready(mine.stable.application) < 1:
        _broken(siege, f"rest: {mine.stable.application} has no ready replica at home")
    if [s.name for s in home.truth().applications or ()] != [mine.stable.application]:
        _broken(siege, f"capacity: {home.truth().applications} at home, {mine.stable.application} is wanted")
    if cloud.nodes() or any(siege.daemon.state.nodes.values()):
        _broken(siege, f"capacity: {cloud.nodes()} nodes in the cloud, bill {siege.daemon.state.nodes}")
    if not any(s.limit for routes in siege.gateway.routes for s in routes.stable.servers if s.site == "private"):
        _broken(siege, "rest: the gateway sends nothing home")
    if siege.store.open_actions():
        _broken(siege, f"journal: {siege.store.open_actions()} never completed")
    if siege.last_action_s > siege.clock() - siege.quiet_s:
        _broken(siege, f"rest: still acting {siege.clock() - siege.last_action_s:.0f} s ago")
    for document in siege.store.observations("release"):
        verdict = document.body["verdict"]
        told = siege.account.verdicts.get(document.name, {verdict})
        if verdict is None or told != {verdict}:
            _broken(siege, f"release: {document.name} is stored as {verdict}, told as {told}")
    return siege.broken


def _broken(siege: Siege, text: str) -> None:
    if len(siege.broken) < 20:
        siege.broken.append(f"{siege.clock() - siege.began_s:.0f} s: {text}")


def _plain(body: Any) -> Any:
    return json.loads(json.dumps(dict(body)))
