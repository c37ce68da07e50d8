"""`hcctl status`: services, releases, sites and replicas as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.context import open_project

if TYPE_CHECKING:
    from rich.tree import Tree


STALE_S = 10.0


@click.command(name="status")
@click.option("--watch", is_flag=True, help="Show it live until Ctrl-C.")
@output.output_option
def command(watch: bool, output_format: output.Output) -> None:
    """Show services, releases, sites and replicas, with latency, rate and cost."""
    if watch and output_format != "table":
        raise click.UsageError("--watch draws a tree; leave out --output, or poll without --watch")
    if not watch:
        data = collect()
        if output_format == "table":
            output.stdout().print(tree(data))
        else:
            output.emit(data, output_format)
        return
    import time

    from rich.live import Live

    with Live(tree(collect()), console=output.stdout(), auto_refresh=False) as live:
        while True:
            time.sleep(1.0)
            live.update(tree(collect()), refresh=True)


def collect() -> dict[str, Any]:
    """The status of the project as plain data."""
    import time

    from cli import wiring

    project = open_project()
    with wiring.store(project.paths) as store:
        services = []
        for document in store.observations("service"):
            last = store.decisions(document.name, limit=1)
            decision = {"at_s": last[0].at_s, **dict(last[0].body)} if last else None
            age_s = max(0.0, time.time() - document.at_s)
            services.append({**document.body, "last_decision": decision, "age_s": age_s})
    return {
        "project": project.spec.name,
        "daemon": "running" if wiring.daemon_alive(project.paths) else "down",
        "endpoint": wiring.endpoint(project),
        "services": services,
    }


def tree(data: dict[str, Any]) -> Tree:
    """The status as a tree for people."""
    from rich.text import Text
    from rich.tree import Tree

    head = Text.assemble((data["project"], "bold"), "  ", output.text(data["endpoint"] or "", "accent"))
    head.append("  daemon ").append_text(output.state(data["daemon"]))
    root = Tree(head, guide_style="bright_black")
    for service in data["services"]:
        _service(root, service, data["daemon"])
    if not data["services"]:
        root.add(output.text("no service is deployed; `hcctl deploy` brings one", "faint"))
    return root


def _service(root: Tree, service: dict[str, Any], daemon: str) -> None:
    signals, cost = service["signals"], service["cost"]
    p99_s = signals["p99_s"]
    late = p99_s is not None and p99_s > service["slo_p99_s"]
    line = output.text("")
    line.append(service["service"], style="bold")
    line.append(f"  {service['version'][:12] if service['version'] else 'no version yet'}")
    line.append(f"  {output.number(signals['rate_rps'])} req/s  p99 ")
    line.append(output.seconds(p99_s) if p99_s is not None else "-", style="bad" if late else "ok")
    line.append(f" of {output.seconds(service['slo_p99_s'])}  queue {signals['queued']}")
    errors = signals["error_share"]
    if errors:
        line.append(f"  errors {output.share(errors)}", style="bad" if errors > service["slo_max_error_rate"] else "")
    line.append(f"  {output.usd(cost['usd_per_hour'])}/h", style="faint")
    node = root.add(line)
    troubles = (_age(service, daemon), service["stale"], service["gateway_error"])
    for warning in (*troubles, *_scaling(service), *_relief(service)):
        if warning:
            node.add(output.text(f"! {warning}", "warn"))
    if service["release"]:
        release = service["release"]
        phase, part = release["phase"].replace("_", " "), output.share(release["share"])
        text = f"release {release['version'][:12]}: {phase}, {part} of the requests"
        node.add(output.text(f"{text}; {release['reason']}", "accent"))
    for name, site in service["sites"].items():
        node.add(_site(name, site))
    decision = service["last_decision"]
    if decision:
        what = " ".join(part for part in (decision["action"], decision.get("site")) if part)
        node.add(output.text(f"last: {what}: {decision['reason']}", "faint"))


def _age(service: dict[str, Any], daemon: str) -> str:
    """What the daemon last wrote is only as true as it is new."""
    if daemon == "running" and service["age_s"] < STALE_S:
        return ""
    return f"as the daemon last saw it, {output.seconds(service['age_s'])} ago"


def _relief(service: dict[str, Any]) -> list[str]:
    """The level in force with its reason and what it did to requests; and a process that is away."""
    relief = service.get("relief")  # absent: an older daemon wrote it
    if not relief:
        return []
    told, signals = [], service["signals"]
    light, shed = signals["light_share"] or 0, signals["shed_share"] or 0
    parts = f"{output.share(light)} light, {output.share(shed)} refused"
    if relief["level"]:
        told.append(f"relief {relief['level'].replace('_', ' ')}: {parts}; {relief['reason']}")
    elif light or shed:
        told.append(f"relief by queue length: {parts}")
    if relief["process"] == "down":
        told.append("the relief process does not answer: its requests wait like others")
    return told


def _scaling(service: dict[str, Any]) -> list[str]:
    told = []
    if service["leaving"]:
        told.append("is being removed: its requests are finished first")
    if service["hold"]:
        told.append("held by hand at " + ", ".join(f"{site}={count}" for site, count in service["hold"].items()))
    if service["scaling"] != "active":
        told.append(f"autoscaling: {service['scaling']}")
    return told


def _site(name: str, site: dict[str, Any]) -> Any:
    line = output.text(f"{name}  ")
    line.append_text(output.state(site["phase"]))
    ready = sum(site["ready"].values())
    line.append(f"  {ready}/{site['target']} replicas (max {site['max']})")
    used = "-" if site["in_use"] is None else site["in_use"]
    line.append(f"  {used}/{site['limit']} slots in use")
    if site["target"]:
        line.append(f"  {output.usd(site['usd_per_hour'])}/h", style="faint")
    if site["ejected"]:
        line.append("  ejected", style="bad")
    if not site["in_sight"] and site["phase"] == "open":
        line.append("  out of sight", style="warn")
    lead = output.lead(site.get("lead"))  # absent: an older daemon wrote it
    if lead:
        line.append(f"  {lead}", style="faint")
    return line
