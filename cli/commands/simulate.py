"""`hcctl simulate`: policies over recorded traffic, judged alike, beside the clairvoyant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.options import Number
from serving.errors import InvalidInput

if TYPE_CHECKING:
    from cli.simulation.inputs import Choices, Scene

FILE = click.Path(path_type=Path)


@click.command(name="simulate")
@click.option("--trace", type=FILE, metavar="FILE", help="CSV file `t_seconds,requests` with rows of equal distance.")
@click.option("--from-log", is_flag=True, help="The recorded traffic of a deployed service, in its own world.")
@click.option("--service", help="With --from-log: which; not needed if there is one.")
@click.option("--days", type=Number(0, 35, min_open=True), help="With --from-log: how far back.  [default: 7]")
@click.option(
    "--policy", "policies", multiple=True, default=("all",), show_default=True, help="Several may be given; or `all`."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all that is random.")
@click.option(
    "--rate-scale",
    type=Number(0, 1e6, min_open=True),
    default=1.0,
    show_default=True,
    help="Times the recorded rate; requests are thinned or resampled, not multiplied.",
)
@click.option(
    "--from-s", type=Number(0, 1e9), default=0.0, show_default=True, help="Begin here, in seconds from the first row."
)
@click.option("--for-s", type=Number(0, 1e9, min_open=True), help="Simulate so long.  [default: to the end]")
@click.option(
    "--private-replicas", type=click.IntRange(0, 10_000), help="Owned.  [default: enough for the mean rate, at least 1]"
)
@click.option("--slots", type=click.IntRange(1, 10_000), help="Requests a replica holds at once.  [default: 2]")
@click.option(
    "--service-time-s",
    "service_s",
    type=Number(0, 86_400, min_open=True),
    help="Mean time a request holds a slot; exponential.  [default: 0.4]",
)
@click.option(
    "--slo-latency-s", "slo_s", type=Number(0, 86_400, min_open=True), help="A slower answer is late.  [default: 1]"
)
@click.option(
    "--lead-time-s", "lead_s", type=Number(0, 86_400), help="From launch to ready, of a cloud replica.  [default: 120]"
)
@click.option("--price-usd-per-hour", "price_usd", type=Number(0, 100_000, min_open=True), help="Of one.  [default: 1]")
@click.option("--min-billing-s", type=Number(0, 86_400), help="Each is paid at least so long.  [default: 0]")
@click.option(
    "--max-cloud-replicas",
    "max_cloud",
    type=click.IntRange(1, 10_000),
    help="Most of them.  [default: what the busiest minute needs at 70 % use]",
)
@click.option(
    "--relief/--no-relief",
    default=None,
    help="Light answers and refusal of low priority at the gateway, under the product's own policies.  "
    "[default: off; with --from-log what the service declares]",
)
@click.option("--light-share", type=Number(0, 1), help="Of all requests: has a light answer.  [default: 0.8]")
@click.option("--low-share", type=Number(0, 1), help="Of all requests: low priority.  [default: 0.2]")
@click.option("--high-share", type=Number(0, 1), help="High priority; the rest is normal.  [default: 0.2]")
@click.option(
    "--decisions", type=FILE, metavar="OUT.csv", help="Write what each second had; of several policies OUT-POLICY.csv."
)
@click.option("--plot", type=FILE, metavar="FILE", help="Draw rate, replicas, cost and lateness: .png or .html.")
@output.output_option
def command(
    trace: Path | None,
    from_log: bool,
    service: str | None,
    days: float | None,
    policies: tuple[str, ...],
    decisions: Path | None,
    plot: Path | None,
    output_format: output.Output,
    **chosen: Any,
) -> None:
    """Run policies over recorded traffic in a simulated world, and compare cloud cost and late answers.

    Private replicas are always there; cloud replicas start after the lead time and are paid from launch.
    A request is late when it waits longer than the SLO leaves beside the mean service time. The
    clairvoyant knows all requests beforehand: it pays least for at most 0.1 % late. With --from-log
    defaults are what the service and the project declare, and the service time that was measured;
    options replace them. Relief keeps requests from the queue while capacity starts: nobody knows which of a
    recording could be, so the shares are assumed. The same input and seed give the same output.

    \b
    hcctl simulate --trace day.csv --policy hpa --policy threshold
    hcctl simulate --from-log --service shop --lead-time-s 300 --plot shop.html
    """
    from autoscaler.simulation import contest
    from cli.simulation import report
    from cli.simulation.inputs import Choices, warn

    names, choices = contest.chosen(policies), Choices(**chosen)
    files: dict[str, Path] = {}
    if decisions is not None:
        report.check_writable("--decisions", decisions)
        files = report.decision_files(decisions, names)
    for path in files.values():
        report.check_writable("--decisions", path)
    if plot is not None:
        _check_plot(plot)
    written = [("--plot", plot), *(("--decisions", path) for path in files.values())]
    report.check_apart((option, path) for option, path in (("--trace", trace), *written) if path is not None)
    scene = _scene(trace, from_log, service, days, choices)
    warn(scene)
    found = contest.contest(
        scene.arrivals,
        scene.world,
        names,
        seed=choices.seed,
        declared=scene.declared,
        past=scene.past,
        watch=lambda name: output.progress(f"{name} ..."),
    )
    figures = report.as_json(scene, found, choices)
    for result in found.results:
        if result.policy in files:
            report.write_decisions(files[result.policy], result)
    if plot is not None:
        from cli.simulation.chart import write

        write(plot, scene, found, figures)
    data = figures if output_format != "table" else report.rows(figures)
    output.emit(data, output_format, columns=report.columns(figures))


def _scene(trace: Path | None, from_log: bool, service: str | None, days: float | None, choices: Choices) -> Scene:
    """What is simulated, from one source or the other."""
    import time

    from cli import wiring
    from cli.context import open_project
    from cli.simulation.inputs import of_log, of_trace

    if (trace is None) == (not from_log):
        raise InvalidInput(
            "one recording is simulated",
            where="--trace, --from-log",
            why="neither is given" if trace is None else "both are given",
            next_step="give --trace FILE, or --from-log for a deployed service",
        )
    if trace is not None:
        for option, value in (("--service", service), ("--days", days)):
            if value is not None:
                raise InvalidInput(
                    "an option belongs to --from-log",
                    where=option,
                    why="a trace file is the whole of its traffic",
                    next_step="leave it out; --from-s and --for-s choose a part of a file",
                )
        return of_trace(trace, choices)
    project = open_project()
    with wiring.store(project.paths) as store:
        return of_log(project.spec, store, service, days=days or 7.0, now_s=time.time(), choices=choices)


def _check_plot(path: Path) -> None:
    from cli.simulation.report import check_writable

    if path.suffix not in {".png", ".html"}:
        raise InvalidInput(
            "the plot has an unknown form",
            where=f"--plot {path}",
            why="its name ends neither in .png nor in .html",
            next_step="name a .png for a picture, a .html for a page with the figures beside it",
        )
    check_writable("--plot", path)
