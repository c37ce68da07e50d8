"""`hcctl simulate`: figures, files, and one clear error for everything that makes no sense."""

from __future__ import annotations

import json
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from autoscaler.simulation.contest import POLICIES, contest
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.record import PastTraffic
from autoscaler.simulation.world import WorldSpec
from cli.canvas import clock
from cli.main import app
from cli.simulation import chart, report
from cli.simulation.inputs import Choices, Scene, of_log, of_trace
from cli.simulation.report import percent
from cli.wiring import store
from serving.project import HybridProject
from tests.support.served import Served

STEPS = "\n".join(f"{second},{4 + 30 * (300 <= second < 420)}" for second in range(900))
"""A quarter of an hour with a burst of two minutes."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a trace in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "burst.csv").write_text(f"t_seconds,requests\n{STEPS}\n")
    return tmp_path


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def simulated(*args: str, trace: str = "burst.csv") -> Any:
    """The JSON of a run."""
    result = hcctl("simulate", "--trace", trace, *args, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*args: str) -> str:
    """The error of a run that must end with exit code 2, without a traceback, and before any policy runs."""
    result = hcctl("simulate", *args)
    assert result.exit_code == 2, result.output
    assert "error:" in result.stderr
    assert "next:" in result.stderr
    assert "Traceback" not in result.output
    assert "..." not in result.stderr, "something ran before the error"
    return result.stderr


def test_figures_of_every_policy() -> None:
    """`all` is every policy; the trace is told, the world with its pools, the clairvoyant with its gap."""
    found = simulated()
    assert list(found["policies"]) == list(POLICIES)
    assert found["trace"]["requests"] == 4 * 900 + 30 * 120
    assert found["world"]["private_replicas"] == 2  # 8 requests/s x 0.4 s / 2 slots, rounded up
    assert found["world"]["pools"][0]["lead_s"] == 120
    assert found["clairvoyant"]["late_share"] <= 0.001
    assert found["clairvoyant"]["gap"] >= 0
    for figures in found["policies"].values():
        assert {"cloud_usd", "ratio_to_clairvoyant", "late_share", "light_share", "shed_share", "actions"} <= set(
            figures
        )
        assert figures["light_share"] is figures["shed_share"] is None  # not simulated is not zero
        assert figures["ratio_to_clairvoyant"] == pytest.approx(
            figures["cloud_usd"] / found["clairvoyant"]["cloud_usd"]
        )


def test_relief_is_simulated_where_it_is_declared() -> None:
    """With --relief every share is a number: the product's own policies relieve, peers have measured nothing."""
    found = simulated("--relief", "--light-share", "0.7", "--policy", "threshold", "--policy", "hpa")
    own, peer = found["policies"]["threshold"], found["policies"]["hpa"]
    assert found["world"]["relief"] == {"light_share": 0.7, "low_share": 0.2, "high_share": 0.2, "light_rps": 1000.0}
    assert own["light_share"] > 0.1
    assert own["late_share"] < 0.1 * peer["late_share"]
    assert (peer["light_share"], peer["shed_share"]) == (0.0, 0.0)
    assert "relief" not in simulated("--policy", "hpa")["world"]


def test_relief_has_columns_of_its_own() -> None:
    """Light and refused answers stand beside the late ones, only where there is relief; the clairvoyant has none."""
    with_relief, without = (
        hcctl("simulate", "--trace", "burst.csv", "--policy", "threshold", *more).stdout.splitlines()
        for more in (["--relief"], [])
    )
    assert with_relief[0].split()[5:8] == ["LATE", "LIGHT", "SHED"]
    assert "LIGHT" not in without[0]
    assert "%" in next(line for line in with_relief if line.startswith("threshold"))
    assert next(line for line in with_relief if line.startswith("clairvoyant")).split()[6:8] == ["-", "-"]


def test_the_picture_shows_what_was_relieved() -> None:
    """A line of what was answered lightly or refused, for those who relieve; nothing of it without relief."""
    scene = of_trace(Path("burst.csv"), Choices(relief=True))
    found = contest(scene.arrivals, scene.world, ["threshold", "hpa"], seed=0, declared=scene.declared)
    picture = chart._picture(scene, found, report.as_json(scene, found, Choices()))
    shown = {line.name: line.kept_away for line in picture.lines}
    run = found.results[0].run
    assert shown["threshold"] is not None
    assert shown["threshold"][-1] == pytest.approx(run.light_share + run.shed_share)
    assert shown["hpa"] is shown["clairvoyant"] is None
    assert chart.render(picture, "png").startswith(b"\x89PNG")


def test_the_busiest_minute_begins_anywhere() -> None:
    """A burst of a minute counts whole, also where it begins within a minute of the trace."""
    Path("astride.csv").write_text(
        "t_seconds,requests\n" + "".join(f"{s},{1 + 9 * (30 <= s < 90)}\n" for s in range(120))
    )
    assert simulated("--policy", "hpa", trace="astride.csv")["trace"]["busiest_minute_rps"] == pytest.approx(10)


def test_the_pools_are_those_in_force() -> None:
    """What no policy could ask for is not told as if it could."""
    told = simulated("--policy", "hpa", "--max-cloud-replicas", "10000")["world"]["pools"]
    assert [pool["max_replicas"] for pool in told] == [2 + 14 + 2]  # private, for twice the 34 requests/s, and two


def test_policies_are_chosen_by_name() -> None:
    """Several, each once, in the order given; progress goes to stderr, data to stdout."""
    result = hcctl(
        "simulate", "--trace", "burst.csv", "--policy", "kpa", "--policy", "hpa", "--policy", "kpa", "-o", "yaml"
    )
    assert list(yaml.safe_load(result.stdout)["policies"]) == ["kpa", "hpa"]
    assert result.stderr.splitlines() == ["clairvoyant ...", "kpa ...", "hpa ..."]


def test_the_table_begins_with_the_cheapest() -> None:
    """A line per policy and one for the clairvoyant, by cost; a small late share can be read."""
    result = hcctl("simulate", "--trace", "burst.csv", "--policy", "hpa", "--policy", "ray-serve")
    head, *lines = result.stdout.splitlines()
    assert head.split()[:3] == ["POLICY", "CLOUD", "COST"]
    costs = [float(line.split()[1].lstrip("$")) for line in lines]
    assert {line.split()[0] for line in lines} == {"clairvoyant", "hpa", "ray-serve"}
    assert costs == sorted(costs)
    assert all(" %" in line for line in lines)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Output, decisions and plot are equal to the byte; another seed draws other requests."""
    runs = []
    for name in ("a", "b"):
        result = hcctl(
            "simulate", "--trace", "burst.csv", "--rate-scale", "0.5", "--policy", "kpa", "--seed", "7",
            "--decisions", f"{name}.csv", "--plot", f"{name}.png", "-o", "json",
        )  # fmt: skip
        runs.append((result.stdout, Path(f"{name}.csv").read_bytes(), Path(f"{name}.png").read_bytes()))
    assert runs[0] == runs[1]
    assert simulated("--rate-scale", "0.5", "--policy", "kpa", "--seed", "8") != json.loads(runs[0][0])


def test_decisions_are_a_row_a_second() -> None:
    """Exactly the columns, from 0, whole numbers; their paid seconds are the bill."""
    found = simulated("--policy", "hpa", "--decisions", "out.csv", "--price-usd-per-hour", "3.6")
    head, *rows = Path("out.csv").read_text().splitlines()
    assert head == "t_s,private_replicas,cloud_ready,cloud_launching"
    values = [[int(cell) for cell in row.split(",")] for row in rows]
    assert [row[0] for row in values] == list(range(900))
    assert {row[1] for row in values} == {2}
    paid_s = sum(row[2] + row[3] for row in values)
    assert found["policies"]["hpa"]["cloud_usd"] == pytest.approx(paid_s * 0.001)
    assert not list(Path().glob(".*"))


def test_several_policies_have_a_file_each() -> None:
    """OUT-POLICY.csv, beside where OUT.csv would be."""
    Path("sub").mkdir()
    simulated("--policy", "hpa", "--policy", "ray-serve", "--decisions", "sub/out.csv")
    assert sorted(path.name for path in Path("sub").iterdir()) == ["out-hpa.csv", "out-ray-serve.csv"]


def test_a_part_of_a_trace_is_simulated() -> None:
    """`--from-s` and `--for-s` choose rows; the part's first second is 0."""
    part = simulated("--from-s", "300", "--for-s", "120", "--policy", "hpa", "--decisions", "out.csv")
    assert part["trace"]["requests"] == 34 * 120
    assert len(Path("out.csv").read_text().splitlines()) == 121
    assert simulated("--from-s", "600", "--policy", "hpa")["trace"]["seconds"] == 300


def test_the_picture_pays_what_the_clairvoyant_pays() -> None:
    """With several pools its line rises by the least price; the subtitle has the range of prices and lead times."""
    pools = (CloudPool("dear", 4.0, 30.0, 3), CloudPool("slow", 1.0, 90.0, 3))
    arrivals = np.repeat([4.0, 30.0, 4.0], 200)
    scene = Scene("x.csv", arrivals, 1.0, WorldSpec(1, 2, 0.4, 1.0, pools))
    found = contest(arrivals, scene.world, ["hpa"], seed=0)
    picture = chart._picture(scene, found, report.as_json(scene, found, Choices()))
    best = next(line for line in picture.lines if line.dashed)
    paid = found.best.ready + found.best.launching
    assert np.diff(best.usd) == pytest.approx(paid[1:] / 3_600)
    assert best.usd[-1] == pytest.approx(found.best_usd)
    assert "ready after 30 to 90 s and costs $1 to 4/h" in picture.subtitle


def test_no_traffic_costs_nothing() -> None:
    """Hours of zeros: no policy rents, there is no ratio, and nothing is divided by."""
    Path("quiet.csv").write_text("t_seconds,requests\n" + "".join(f"{1800 * half},0\n" for half in range(3)))
    found = simulated("--plot", "quiet.png", trace="quiet.csv")
    assert {p["cloud_usd"] for p in found["policies"].values()} == {0.0}
    assert {p["ratio_to_clairvoyant"] for p in found["policies"].values()} == {None}
    assert {p["late_share"] for p in found["policies"].values()} == {0.0}
    assert found["clairvoyant"] == {"cloud_usd": 0.0, "late_share": 0.0, "gap": 0.0}
    assert found["world"]["private_replicas"] == 1


def test_no_private_replicas_means_all_in_the_cloud() -> None:
    """Zero is taken as it is: what serves is rented, from the first second."""
    found = simulated("--private-replicas", "0", "--policy", "hpa", "--policy", "threshold", "--decisions", "out.csv")
    assert found["world"]["private_replicas"] == 0
    first = Path("out-hpa.csv").read_text().splitlines()[1]
    assert first == "0,0,2,0"  # the warm start: 4 requests/s at 70 % use
    assert found["clairvoyant"]["cloud_usd"] > 0


def test_a_lead_time_longer_than_the_trace_is_told() -> None:
    """Nothing that is launched gets ready; the run goes on with what was warm."""
    result = hcctl(
        "simulate", "--trace", "burst.csv", "--lead-time-s", "2000", "--policy", "hpa", "--decisions", "out.csv"
    )
    assert result.exit_code == 0
    assert "nothing that is launched gets ready" in result.stderr
    assert {row.split(",")[2] for row in Path("out.csv").read_text().splitlines()[1:]} == {"0"}


def test_a_trace_of_two_seconds() -> None:
    """Shorter than every window, and still simulated."""
    Path("two.csv").write_text("t_seconds,requests\n0,9\n1,0\n")
    found = simulated(trace="two.csv")
    assert found["trace"]["seconds"] == 2
    assert all(p["late_share"] <= 1 for p in found["policies"].values())


def test_seconds_since_the_epoch_are_seconds() -> None:
    """As a metrics database exports them: what counts is the distance of the rows."""
    for name, first_s in (("here.csv", 0), ("epoch.csv", 1_795_000_000)):
        rows = "".join(f"{first_s + 60 * number},{count}\n" for number, count in enumerate((90, 300, 60)))
        Path(name).write_text(f"t_seconds,requests\n{rows}")
    assert (
        simulated("--policy", "hpa", trace="epoch.csv")["policies"]
        == (simulated("--policy", "hpa", trace="here.csv")["policies"])
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", ["line 1", "empty"], id="empty"),
        pytest.param("t_seconds,requests\n", ["fewer than two rows"], id="header alone"),
        pytest.param("t_seconds,requests\n0,1\n", ["fewer than two rows", "add the row"], id="one row"),
        pytest.param("t_seconds,requests\n0,1\n1,1\n3,1\n", ["line 4", "missing rows"], id="gap"),
        pytest.param("t_seconds,requests\n0,1\n1,-1\n", ["line 3, column requests", "'-1'", "has 0"], id="negative"),
        pytest.param("t_seconds,requests\n0,1\n2,1\n1,1\n", ["line 4", "sort the rows"], id="unsorted"),
        pytest.param("t_seconds,requests\n0,1\n1,1\n3,1\n2,1\n", ["line 5", "sort the rows"], id="two rows swapped"),
        pytest.param("t_seconds,requests\n0,1\n1,1\n1,1\n", ["line 4", "was there before"], id="duplicate"),
        pytest.param("t_seconds,requests\n0,inf\n1,1\n", ["line 2, column requests", "'inf'"], id="infinite"),
        pytest.param("seconds,n\n0,1\n1,1\n", ["line 1", "t_seconds,requests"], id="header"),
        pytest.param("t_seconds,requests\n-1,1\n0,1\n", ["line 2, column t_seconds", "first row"], id="negative time"),
        pytest.param("t_seconds,requests\n0,1\n2e7,1\n", ["cannot be simulated", "--for-s"], id="too long"),
        pytest.param("t_seconds,requests\n0,1\n0.2,1\n", ["cannot be simulated", "add the rows"], id="too short"),
        pytest.param("t_seconds,requests\n0,900000000\n1,1\n", ["too large", "--rate-scale"], id="too much"),
    ],
)
def test_bad_traces(text: str, says: list[str]) -> None:
    """The error names the line and the fix."""
    Path("bad.csv").write_text(text)
    result = hcctl("simulate", "--trace", "bad.csv")
    assert result.exit_code == 2, result.output
    for word in says:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], ["--trace, --from-log", "neither"]),
        (["--trace", "burst.csv", "--from-log"], ["both"]),
        (["--trace", "gone.csv"], ["gone.csv"]),
        (["--trace", "."], ["no regular file"]),
        (["--trace", "burst.csv", "--service", "shop"], ["--service"]),
        (["--trace", "burst.csv", "--days", "2"], ["--days"]),
        (["--trace", "burst.csv", "--policy", "guess"], ["--policy guess", "hpa"]),
        (["--trace", "burst.csv", "--policy", "../../x", "--decisions", "o.csv"], ["--policy ../../x"]),
        (["--trace", "burst.csv", "--slo-latency-s", "0.4"], ["--slo-latency-s 0.4", "--service-time-s"]),
        (["--trace", "burst.csv", "--service-time-s", "1.5"], ["--slo-latency-s", "1.5 s"]),
        (["--trace", "burst.csv", "--from-s", "900"], ["--from-s 900", "900 s"]),
        (["--trace", "burst.csv", "--from-s", "800", "--for-s", "200"], ["--for-s 200"]),
        (["--trace", "burst.csv", "--from-s", "0.5"], ["--from-s 0.5", "multiple of 1"]),
        (["--trace", "burst.csv", "--light-share", "0.5"], ["--light-share", "--relief"]),
        (["--trace", "burst.csv", "--no-relief", "--low-share", "0.5"], ["--low-share", "--relief"]),
        (["--trace", "burst.csv", "--relief", "--low-share", "0.9"], ["--low-share 0.9, --high-share 0.2"]),
        (["--trace", "burst.csv", "--decisions", "."], ["--decisions .", "folder"]),
        (["--trace", "burst.csv", "--decisions", "none/o.csv"], ["--decisions none/o.csv"]),
        (["--trace", "burst.csv", "--decisions", "burst.csv/o.csv"], ["--decisions burst.csv/o.csv"]),
        (["--trace", "burst.csv", "--decisions", "/proc/o.csv"], ["--decisions /proc/o.csv"]),
        (["--trace", "burst.csv", "--decisions", "/dev/null"], ["--decisions /dev/null", "no regular file"]),
        (["--trace", "burst.csv", "--plot", "p.jpg"], ["--plot p.jpg", ".png"]),
        (["--trace", "burst.csv", "--plot", "none/p.png"], ["--plot none/p.png"]),
        (["--trace", "burst.csv", "--policy", "hpa", "--decisions", "burst.csv"], ["--trace burst.csv", "--decisions"]),
        (["--trace", "burst.csv", "--policy", "hpa", "--decisions", "./link.csv"], ["--trace burst.csv", "link.csv"]),
        (["--trace", "t-hpa.csv", "--decisions", "t.csv"], ["--trace t-hpa.csv", "--decisions t-hpa.csv"]),
        (["--trace", "burst.png", "--plot", "burst.png"], ["--trace burst.png", "--plot burst.png"]),
        (["--trace", "burst.csv", "--policy", "hpa", "--decisions", "p.png", "--plot", "./p.png"], ["--plot p.png"]),
        (["--from-log"], ["hcctl.yaml"]),
    ],
)
def test_bad_requests(args: list[str], says: list[str]) -> None:
    """The error names the option and the fix, before anything runs."""
    Path("link.csv").symlink_to("burst.csv")
    told = refused(*args)
    for word in says:
        assert word in told


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "x", "1e400"])
@pytest.mark.parametrize(
    "option",
    ["--rate-scale", "--lead-time-s", "--service-time-s", "--slo-latency-s", "--price-usd-per-hour", "--min-billing-s",
     "--from-s", "--for-s", "--light-share", "--low-share", "--high-share"],
)  # fmt: skip
def test_numbers_are_finite_and_in_range(option: str, value: str) -> None:
    """What is no number, or none that makes sense, is refused by the option's name."""
    assert option in refused("--trace", "burst.csv", f"{option}={value}")


@pytest.mark.parametrize(
    "option",
    ["--price-usd-per-hour=0", "--slots=0", "--max-cloud-replicas=0", "--private-replicas=-1", "--rate-scale=0",
     "--service-time-s=0", "--slo-latency-s=0", "--for-s=0", "--private-replicas=1.5", "--seed=-1"],
)  # fmt: skip
def test_zero_is_refused_where_it_makes_no_sense(option: str) -> None:
    """A price of nothing, a replica without slots, an empty part."""
    assert option.partition("=")[0] in refused("--trace", "burst.csv", option)


def test_a_long_trace_is_read_and_its_limits_are_told() -> None:
    """A million rows are taken (here: the part that is asked for); two million and one are refused by line."""
    Path("long.csv").write_text("t_seconds,requests\n" + "".join(f"{second},1\n" for second in range(1_000_000)))
    begun_s = time.monotonic()
    assert (
        simulated("--from-s", "900000", "--for-s", "600", "--policy", "hpa", trace="long.csv")["trace"]["seconds"]
        == 600
    )
    assert time.monotonic() - begun_s < 60
    with Path("long.csv").open("a") as file:
        file.writelines(f"{second},1\n" for second in range(1_000_000, 2_000_001))
    assert "line 2000002" in refused("--trace", "long.csv")


class Page(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_else() -> None:
    """No script, nothing loaded; a file's name is shown, not obeyed."""
    name = "<script>alert(1)<&>.csv"
    Path(name.replace("/", "")).write_text(Path("burst.csv").read_text())
    simulated("--policy", "hpa", "--plot", "p.html", trace=name.replace("/", ""))
    text = Path("p.html").read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert len(page.addresses) == 1
    assert "&lt;script&gt;" in text


def test_the_log_of_a_service_is_its_own_world(folder: Path) -> None:
    """Slots, SLO and pools are declared, the service time was measured; options win; a gap would be told."""
    served = Served(folder)
    assert "no traffic" in refused("--from-log")
    served.record(2, per_step=40)
    result = hcctl("simulate", "--from-log", "--days", "1", "--policy", "hpa", "-o", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    declared = served.project.spec.sites["cloud"].pools[0]
    pool = found["world"]["pools"][0]
    assert found["trace"]["mean_rps"] == pytest.approx(4.0, rel=0.05)
    assert found["trace"]["unwatched_s"] == 0
    assert found["world"]["service_time_s"] == pytest.approx(0.2)
    assert found["world"]["slots_per_replica"] == served.spec.model.slots_per_replica
    assert found["world"]["slo_latency_s"] == served.spec.slo.latency_p99_s
    assert (pool["price_usd_per_hour"], pool["lead_s"]) == (declared.price_usd_per_hour, declared.lead_time_s)
    other = hcctl("simulate", "--from-log", "--service", served.name, "--policy", "threshold", "--lead-time-s", "7",
                  "--price-usd-per-hour", "9", "--private-replicas", "1", "-o", "json")  # fmt: skip
    world = json.loads(other.stdout)["world"]
    assert (world["private_replicas"], world["pools"][0]["lead_s"]) == (1, 7)
    assert world["pools"][0]["price_usd_per_hour"] == 9
    assert "no such service" in refused("--from-log", "--service", "other")


def test_slots_that_are_held_for_less_time_while_all_are_full_are_known(folder: Path) -> None:
    """Who waited is measured apart; an option that is another world's leaves it out."""
    served = Served(folder)
    served.record(1, per_step=40, waited=10)

    def times(*options: str) -> list[float]:
        result = hcctl("simulate", "--from-log", "--policy", "hpa", "-o", "json", *options)
        assert result.exit_code == 0, result.stderr
        world = json.loads(result.stdout)["world"]
        return [world["service_time_s"], world["full_service_time_s"]]

    assert times() == pytest.approx([0.2, 0.1])
    assert times("--service-time-s", "0.3") == pytest.approx([0.3, 0.3])
    assert times("--slots", "3") == pytest.approx([0.2, 0.2])


def test_every_pool_of_a_service_counts(folder: Path) -> None:
    """Each as far as the service may fill it, a later and cheaper one too; all of them together up to its share."""
    served = Served(folder)
    served.record(1, per_step=40)
    declared = served.project.spec.model_dump(mode="json", by_alias=True)
    first = declared["sites"]["cloud"]["pools"][0] | {"max_nodes": 50}
    cheap = first | {"name": "cheap", "price_usd_per_hour": first["price_usd_per_hour"] / 2, "max_nodes": 1}
    declared["sites"]["cloud"]["pools"] = [first, cheap]
    project, most = HybridProject.model_validate(declared), served.spec.sites["cloud"].max_replicas
    assert most > 1
    with store(served.project.paths) as opened:
        whole, small = (
            of_log(project, opened, None, days=1.0, now_s=served.now_s, choices=Choices(max_cloud=chosen)).world
            for chosen in (None, 1)
        )
    assert [(pool.name, pool.max_replicas) for pool in whole.pools] == [(first["name"], most), ("cheap", 1)]
    assert whole.most_rented == most
    assert ([pool.max_replicas for pool in small.pools], small.most_rented) == ([1, 1], 1)


def test_a_service_is_relieved_as_it_declares(folder: Path) -> None:
    """Its own levels are simulated, --no-relief leaves them out, and --relief gives the defaults to one without."""
    rules = {"rules": [{"path": "/", "idempotent": True, "relief": "shared"}]}
    served = Served(folder, relief={"light": {"over": 0.25}}, routing=rules)
    served.record(1, per_step=40)
    with store(served.project.paths) as opened:
        own, off, on = (
            of_log(served.project.spec, opened, None, days=1.0, now_s=served.now_s, choices=Choices(relief=relief))
            for relief in (None, False, True)
        )
        spec = served.spec.model_dump(mode="json", by_alias=True)
        opened.put_intent(
            "service", served.name, {"spec": spec, "wanted": None}, expected_revision=1, at_s=served.now_s
        )
        none, given = (
            of_log(served.project.spec, opened, None, days=1.0, now_s=served.now_s, choices=Choices(relief=relief))
            for relief in (None, True)
        )
    assert own.declared["relief"]["light"]["over"] == on.declared["relief"]["light"]["over"] == 0.25
    assert own.declared["routing"]["rules"][0]["relief"] == "shared"
    assert (off.world.mix, none.world.mix) == (None, None)
    assert {"relief", "routing"}.isdisjoint({*off.declared, *none.declared})
    assert given.declared["relief"] == {"light": {}, "shed": {}}
    run = contest(own.arrivals[:60], own.world, ["threshold"], seed=0, declared=own.declared).results[0].run
    assert run.light_share == 0.0


def test_the_declared_budget_holds_in_the_hours_of_the_record(folder: Path) -> None:
    """The product's own policies keep its caps hour by hour of the wall clock; a peer knows of no budget."""
    served = Served(folder, budget={"usd_per_hour": 0.5})
    served.record(2, per_step=400)
    names = ("predictive", "threshold", "hpa")
    result = hcctl(
        "simulate", "--from-log", "--private-replicas", "1", "--price-usd-per-hour", "1", "--min-billing-s", "0",
        "--decisions", "o.csv", *(word for name in names for word in ("--policy", name)), "-o", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    start_s = served.now_s // 10 * 10 - 7_200
    most_usd = {}
    for name in names:
        t_s, _, ready, launching = np.loadtxt(f"o-{name}.csv", delimiter=",", skiprows=1, unpack=True)
        hour = ((t_s + start_s) // 3_600).astype(int)
        most_usd[name] = np.bincount(hour - hour[0], (ready + launching) / 3_600).max()
    assert 0 < most_usd["predictive"] <= 0.5 + 1e-6
    assert 0 < most_usd["threshold"] <= 0.5 + 1e-6
    assert most_usd["hpa"] > 0.5


def test_what_came_before_is_on_record(folder: Path) -> None:
    """The week before the part that is simulated, as the daemon knew it: up to its first second, nan where unknown."""
    served = Served(folder)
    served.record(4, per_step=40, away_s=range(3_000, 3_600))
    with store(served.project.paths) as opened:
        part, whole = (
            of_log(
                served.project.spec, opened, None, days=1.0, now_s=served.now_s, choices=Choices(from_s=at_s, for_s=60)
            )
            for at_s in (7_200.0, 0.0)
        )
    assert part.past is not None
    assert len(part.past) == 7_200
    assert np.flatnonzero(np.isnan(part.past)).tolist() == list(range(3_000, 3_600))
    assert np.nanmean(part.past) == pytest.approx(4.0, rel=0.05)
    assert whole.past is None, "nobody looked before"
    history = PastTraffic(part.past, part.world.start_s).history((60.0,))
    assert (history.until_s, history.averaged) == (part.world.start_s, 720), "the gap is not bridged"
    assert np.isfinite(history.averages).all()


@pytest.mark.parametrize("command", ["simulate --from-log --days 0.05", "shadow --since 72m"])
def test_policies_know_what_came_before(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """The product's own policies begin with what the daemon had on record, as they do in a live service."""
    Served(folder).record(3, per_step=40)
    told = []

    def seen(*args: Any, past: Any, **named: Any) -> Any:
        told.append(past)
        return contest(*args, past=past, **named)

    monkeypatch.setattr("autoscaler.simulation.contest.contest", seen)
    assert hcctl(*command.split(), "--policy", "hpa").exit_code == 0
    assert len(told[0]) == pytest.approx(3 * 3_600 - 72 * 60, abs=20)


def test_a_part_of_the_record_keeps_its_wall_clock(folder: Path) -> None:
    """The hours and days of a budget are those in which the requests came."""
    served = Served(folder)
    served.record(2, per_step=40)
    with store(served.project.paths) as opened:
        choices = Choices(from_s=600.0, for_s=1_200.0)
        scene = of_log(served.project.spec, opened, None, days=1.0, now_s=served.now_s, choices=choices)
    assert scene.world.start_s == served.now_s // 10 * 10 - 7_200 + 600


def test_what_nobody_watched_is_told_of_the_part_that_is_simulated(folder: Path) -> None:
    """Ten minutes of the record are unknown: the whole has them all, a part what lies in it, another none."""
    Served(folder).record(2, per_step=40, away_s=range(3_000, 3_600))
    for part, unwatched_s in ((["--from-s", "0"], 600), (["--for-s", "3200"], 200), (["--from-s", "3600"], 0)):
        result = hcctl("simulate", "--from-log", "--policy", "hpa", *part, "-o", "json")
        assert json.loads(result.stdout)["trace"]["unwatched_s"] == unwatched_s
        assert ("nobody looked" in result.stderr) == (unwatched_s > 0)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.00 %"),
        (0.000_004, "<0.01 %"),
        (0.0005, "0.05 %"),
        (0.0484, "4.84 %"),
        (0.1, "10.0 %"),
        (1.0, "100.0 %"),
    ],
)
def test_small_shares_can_be_read(share: float, text: str) -> None:
    """Hundredths of a percent decide who kept the SLO: none is rounded to nothing."""
    assert percent(share) == text


@pytest.mark.parametrize(
    ("at_s", "end_s", "text"), [(90, 600, "1:30"), (5_400, 86_400, "1:30"), (129_600, 500_000, "1.5")]
)
def test_a_time_axis_counts_in_what_fits(at_s: float, end_s: float, text: str) -> None:
    """Minutes and seconds, hours and minutes, or days."""
    assert clock(at_s, end_s) == text
