"""Loading the two files: valid ones become models, others one error with its fix."""

import json
import os
import threading
from pathlib import Path

import pytest

from autoscaler.snapshot import STEP_S
from serving.errors import InvalidInput
from serving.loading import (
    json_schema,
    load_project,
    load_service,
    parse_service,
    short_path,
    validate_pair,
)
from serving.project import LONGEST_FORECAST_TICK_S, HybridProject, conflicts
from serving.spec import HybridService
from tests.support.broken_specs import valid_text
from tests.support.declared import project as project_with
from tests.support.declared import service as service_with


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with both valid files."""
    (tmp_path / "service.yaml").write_text(valid_text("HybridService"))
    (tmp_path / "hcctl.yaml").write_text(valid_text("HybridProject"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited(folder: Path, old: str, new: str, file: str = "service.yaml") -> Path:
    """The file with one edit."""
    path = folder / file
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))
    return path


def problem_of(folder: Path, old: str, new: str) -> tuple[str, str, str]:
    """Where, why and next step after one edit of the service file."""
    path = edited(folder, old, new)
    with pytest.raises(InvalidInput) as caught:
        load_service(path, project=load_project(folder / "hcctl.yaml"))
    return caught.value.where, caught.value.why, caught.value.next_step


def test_valid_files_load(folder: Path) -> None:
    """The files that `hcctl init` writes are a service and a project that fit each other."""
    project = load_project(folder / "hcctl.yaml")
    service = load_service(folder / "service.yaml", project=project)
    assert isinstance(project, HybridProject)
    assert isinstance(service, HybridService)


def test_stored_body_round_trips(folder: Path) -> None:
    """A service written to the store as JSON comes back as the same service."""
    service = load_service(folder / "service.yaml")
    assert parse_service(json.loads(service.model_dump_json(by_alias=True))) == service


def test_stored_body_that_is_wrong_names_its_field(folder: Path) -> None:
    """A damaged stored body is refused by field; it has no line."""
    body = load_service(folder / "service.yaml").model_dump(mode="json") | {"slo": {"latency_p99_s": 0}}
    with pytest.raises(InvalidInput) as caught:
        parse_service(body)
    assert caught.value.where == "slo.latency_p99_s"


@pytest.mark.parametrize(
    ("old", "new", "where", "why", "fix"),
    [
        pytest.param(
            "latency_p99_s: 0.5",
            "latency_p99_s: 0",
            "service.yaml:24 slo.latency_p99_s",
            "0 is not a number above 0 and at most 86400",
            "set latency_p99_s to a number above 0 and at most 86400",
            id="range",
        ),
        pytest.param(
            "latency_p99_s: 0.5",
            "latency_p99: 0.5",
            "service.yaml:24 slo.latency_p99",
            "there is no field 'latency_p99' here (and 1 more)",
            "did you mean latency_p99_s?",
            id="did-you-mean",
        ),
        pytest.param(
            "latency_p99_s: 0.5",
            "zzz: 0.5",
            "service.yaml:24 slo.zzz",
            "there is no field 'zzz' here (and 1 more)",
            "known fields: latency_p99_s, max_error_rate",
            id="unknown-field",
        ),
        pytest.param(
            "slots_per_replica: 4",
            'slots_per_replica: "4"',
            "service.yaml:12 model.slots_per_replica",
            "'4' is text, not a whole number from 1 to 10000",
            "set slots_per_replica to a whole number from 1 to 10000",
            id="text-for-number",
        ),
        pytest.param(
            "slots_per_replica: 4 ",
            "slots_per_replica:",
            "service.yaml:12 model.slots_per_replica",
            "an empty value is not a whole number from 1 to 10000",
            "set slots_per_replica to a whole number from 1 to 10000",
            id="empty",
        ),
        pytest.param(
            "  import_path: bestsellers:Bestsellers\n",
            "",
            "service.yaml:9 model.import_path",
            "import_path is missing",
            "add import_path: an import path such as package.module:Class - `package.module:attribute` of",
            id="missing",
        ),
        pytest.param(
            "name: shop",
            "name: Shop",
            "service.yaml:5 name",
            "'Shop' is not a name of lower-case letters",
            "set name to a name of lower-case letters",
            id="name",
        ),
        pytest.param(
            "  cloud: {",
            "  Cloud: {",
            "service.yaml:30 sites.Cloud",
            "'Cloud' is not a good name",
            "use a name of lower-case letters",
            id="site-name",
        ),
        pytest.param(
            "method: POST",
            "method: PUT",
            "service.yaml:104 release.probe.method",
            "'PUT' is not one of GET, POST",
            "set method to one of GET, POST",
            id="choice",
        ),
        pytest.param(
            "return_ratio: 1.0",
            "return_ratio: 2",
            "service.yaml:60 burst.cost.return_ratio",
            "return_ratio is larger than private_over_cloud_ratio, so traffic would flap",
            "lower it",
            id="own-rule",
        ),
        pytest.param(
            "  policy: threshold ",
            "  policy: predictive ",
            "service.yaml:49 burst.policy",
            "policy predictive has no cost trigger",
            "leave cost out, or set policy: threshold",
            id="cost-is-a-threshold",
        ),
        pytest.param(
            "      relief: null ",
            "      relief: shared ",
            "service.yaml:77 relief",
            "relief has no light, but a rule of routing may use it",
            "declare light, or leave it out of the rule",
            id="relief-undeclared",
        ),
        pytest.param(
            "\nrelief: null\n",
            "\nrelief: {light: {}}\n",
            "service.yaml:77 relief",
            "relief answers nothing: no rule may use light",
            "set relief: shared or per_caller on a rule",
            id="relief-unused",
        ),
        pytest.param(
            "\nrelief: null\n",
            "\nrelief: {shed: {}}\n",
            "service.yaml:77 relief",
            "relief refuses nothing: no rule has low priority",
            "set priority: low on a rule, or shed.normal_over",
            id="relief-refuses-nothing",
        ),
        pytest.param(
            "\nrelief: null\n",
            "\nrelief: {}\n",
            "service.yaml:77 relief",
            "no level is declared",
            "declare light or shed, or leave relief out",
            id="relief-empty",
        ),
        pytest.param(
            "\nrelief: null\n",
            "\nrelief: {light: {max_stale_s: 0}}\n",
            "service.yaml:77 relief.light",
            "nothing can answer",
            "raise max_stale_s, or declare a variant",
            id="relief-without-answers",
        ),
        pytest.param(
            "\nrelief: null\n",
            "\nrelief: {light: {over: 2}, shed: {}}\n",
            "service.yaml:77 relief.shed",
            "shed begins before light",
            "light answers come first, so raise shed.low_over above light.over",
            id="relief-order",
        ),
        pytest.param(
            "\nrelief: null\n",
            "\nrelief: {shed: {low_over: 2, normal_over: 1}}\n",
            "service.yaml:77 relief.shed.normal_over",
            "normal_over is below low_over",
            "low priority is refused first, so raise normal_over",
            id="relief-priorities",
        ),
        pytest.param(
            "max_replicas: 4",
            "max_replicas: 5",
            "service.yaml:30 sites.cloud.max_replicas",
            "5 replicas do not fit 4 nodes",
            "lower it or raise the pools' max_nodes",
            id="conflict",
        ),
        pytest.param(
            "  cloud: {",
            "  klaud: {",
            "service.yaml:30 sites.klaud",
            "the project has no such site",
            "use one of: private, cloud",
            id="unknown-site",
        ),
        pytest.param(
            "kind: HybridService",
            "kind: HybridProject",
            "service.yaml:4 kind",
            "this is a HybridProject, the project file (hcctl.yaml); a HybridService is wanted",
            "name the service file, usually service.yaml",
            id="other-kind",
        ),
        pytest.param(
            "kind: HybridService",
            "kind: HybridServise",
            "service.yaml:4 kind",
            "there is no kind 'HybridServise'",
            "write `kind: HybridService` at the top",
            id="misspelt-kind",
        ),
        pytest.param(
            "kind: HybridService",
            "",
            "service.yaml:1 kind",
            "kind is missing",
            "write `kind: HybridService` at the top",
            id="no-kind",
        ),
    ],
)
def test_error_says_where_why_and_what_to_write(
    folder: Path, old: str, new: str, where: str, why: str, fix: str
) -> None:
    """An error names file, line and field, the problem in plain words, and the fix from the schema."""
    found = problem_of(folder, old, new)
    assert found[0] == where
    assert found[1].startswith(why)
    assert found[2].startswith(fix)


@pytest.mark.parametrize(
    "price", ["price_usd_per_hour: 0 ", "", "price_usd_per_hour: -1 "], ids=["0", "missing", "negative"]
)
def test_a_rented_pool_has_a_price(folder: Path, price: str) -> None:
    """Without one nothing could be compared: the error names the pool's field and what to write."""
    path = edited(folder, "price_usd_per_hour: 1.006 ", price, "hcctl.yaml")
    with pytest.raises(InvalidInput) as caught:
        load_project(path)
    assert caught.value.where is not None
    assert caught.value.where.endswith("sites.cloud.pools.0.price_usd_per_hour")
    assert caught.value.next_step.startswith(("set what one node costs", "set price_usd_per_hour to a number"))


def test_relief_needs_a_route_that_may_be_asked_twice(folder: Path) -> None:
    """What the relief process cannot answer is sent again: only an idempotent route may have it."""
    edited(folder, "relief: null              #", "relief: shared #")
    where, why, fix = problem_of(folder, "idempotent: true", "idempotent: false")
    assert where == "service.yaml:40 routing.rules.0.relief"
    assert why.startswith("relief may ask twice for one answer")
    assert fix == "set idempotent: true, or leave relief out"


def test_first_problem_in_the_file_is_told_and_the_rest_counted(folder: Path) -> None:
    """Of several problems the first by line is told, whatever its kind; the others are a number."""
    edited(folder, "drain_s: 30 ", "drain: 30")
    edited(folder, "latency_p99_s: 0.5", "latency_p99_s: -1")
    where, why, _ = problem_of(folder, "max_error_rate: 0.01", "max_error: 0.01")
    assert where == "service.yaml:20 model.drain"
    assert why.endswith("(and 2 more)")
    where, why, _ = problem_of(folder, "drain: 30", "drain_s: 30")
    assert where == "service.yaml:24 slo.latency_p99_s"
    assert why.endswith("(and 1 more)")


def test_conflict_without_a_file_names_the_field(folder: Path) -> None:
    """A stored service that contradicts its project is refused by field."""
    service = load_service(folder / "service.yaml")
    project = load_project(edited(folder, "max_nodes: 4", "max_nodes: 1", "hcctl.yaml"))
    with pytest.raises(InvalidInput) as caught:
        validate_pair(service, project)
    assert caught.value.where == "sites.cloud.max_replicas"


def test_a_forecast_needs_a_daemon_that_looks_often() -> None:
    """Steps of arrivals in which nobody looked are unknown: such a pair is refused by field, with both fixes."""
    service = service_with(burst={"policy": "predictive"})
    assert LONGEST_FORECAST_TICK_S == STEP_S
    slow = project_with(daemon={"tick_s": 10.0})
    assert conflicts(service, project_with(daemon={"tick_s": 5.0})) == []
    assert conflicts(service_with(), slow) == []
    ((field, text),) = conflicts(service, slow)
    assert field == "burst.policy"
    assert "lower daemon.tick_s" in text


@pytest.mark.parametrize("name", ["nothing.yaml", "sub", "nul\0"])
def test_unreadable_file_is_an_error(folder: Path, name: str) -> None:
    """A file that is missing, a folder, or no path at all gives one error."""
    (folder / "sub").mkdir()
    with pytest.raises(InvalidInput) as caught:
        load_service(Path(name))
    assert "cannot be read" in caught.value.what
    assert "hcctl init" in caught.value.next_step


def test_file_without_end_is_refused_for_its_size() -> None:
    """An endless file is read up to the bound only."""
    with pytest.raises(InvalidInput) as caught:
        load_service(Path("/dev/zero"))
    assert "larger than" in caught.value.why


def test_pipe_is_read(folder: Path) -> None:
    """`hcctl validate -f <(generate)` works: a pipe is a file."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(valid_text("HybridService"),))
    writer.start()
    assert load_service(pipe).name == "shop"
    writer.join()


def test_paths_are_shown_as_typed(folder: Path) -> None:
    """A path below the working folder is shown relative to it; another one in full."""
    assert short_path(folder / "a" / "b.yaml") == "a/b.yaml"
    assert short_path(Path("/elsewhere/b.yaml")) == "/elsewhere/b.yaml"


@pytest.mark.parametrize("kind", ["HybridService", "HybridProject"])
def test_schema_describes_the_kind(kind: str) -> None:
    """The exported schema is JSON, closed to unknown fields, and names its dialect."""
    schema = json.loads(json.dumps(json_schema(kind)))
    assert schema["title"] == kind
    assert schema["additionalProperties"] is False
    assert schema["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("kind", ["HybridService", "HybridProject"])
def test_example_shows_every_field(kind: str) -> None:
    """The file that `hcctl init` writes shows each field of the schema, so none stays undiscovered."""
    schema = json_schema(kind)
    fields = {field for form in [schema, *schema["$defs"].values()] for field in form.get("properties", {})}
    text = valid_text(kind)
    assert sorted(field for field in fields if f"{field}:" not in text) == []
