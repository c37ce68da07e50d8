"""`hcctl demo`: see it work: a shop, a flash sale, a burst, and the way home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output

if TYPE_CHECKING:
    from cli.demo.report import DemoReport
    from cli.demo.run import Demo


@click.command(name="demo")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="HCCTL_DATA",
    help="Folder with a shop's orders (interactions.csv.gz, items.csv). [default: a generated shop]",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("hcctl-demo"),
    show_default=True,
    help="Where the demo's project and report are written.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--keep", is_flag=True, help="Leave everything running; `hcctl --project DIR down` stops it.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(data: Path | None, folder: Path, seed: int, keep: bool, as_json: bool) -> int:
    """Train a small recommender, serve it on two sites, and replay a shop's day with a flash sale.

    Everything is real: two Ray clusters, HAProxy, SQLite; only the accelerator's time is emulated,
    and the report says so. Exit code 1 if the burst did not open, the SLO did not recover, it did
    not come home, or a request was lost.
    """
    from cli.demo import present
    from cli.demo.live import LiveView
    from cli.demo.report import write_report
    from cli.demo.run import run

    with LiveView(slo_s=0.5) as view:
        demo = run(folder, data=data, seed=seed, keep=keep, watch=view.show)
    made = present.report(demo, seed=seed, data=data.name if data else "a generated shop")
    files = write_report(made, demo.project.paths.root)
    named = {"png": str(files.png), "html": str(files.html)}
    if as_json:
        output.emit(present.as_json(demo, made, named), "json")
    else:
        _tell(demo, made, named)
    return 0 if demo.ok else 1


def _tell(demo: Demo, made: DemoReport, files: dict[str, str]) -> None:
    from cli.demo.present import lap_text
    from cli.demo.report import cost_rows, summary_rows

    for check in demo.checks:
        mark = output.text("\N{CHECK MARK}" if check.ok else "x", "ok" if check.ok else "bad")
        output.stdout().print(mark, output.text(check.name, "head"), output.text(check.text))
    output.emit(dict(summary_rows(made)), "table", title="\nThe run")
    costs = [{"way": way, "cost": usd, "counted as": how} for way, usd, how in cost_rows(made)]
    output.emit(costs, "table", title="\nCost, next to two other ways")
    output.progress(f"\n{lap_text(demo.times_s)}")
    output.success(f"report: {files['html']}")
    output.success(f"chart:  {files['png']}")
