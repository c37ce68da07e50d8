"""Logs of a cluster's pods: which pods they are, no line lost or twice, and the same look as any other log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.log_reader import readable
from cli.main import app
from cli.site_logs import PodReader
from serving.errors import InvalidInput, SiteUnreachable
from serving.sites.kubernetes import api, pod_logs
from serving.sites.kubernetes.answers import AnswerTooLong, Forbidden
from serving.sites.kubernetes.manifest import Identity
from serving.sites.kubernetes.pod_logs import Line, PodLogs, Source, read_lines, sources_of
from tests.support.broken_specs import KUBERNETES_SITE, valid_text
from tests.support.cluster_daemon import declaration
from tests.support.clusters import access
from tests.support.declared import merged
from tests.support.kubernetes_api import KubernetesDouble

IDENTITY = Identity("shop", "cluster", "serving")
SOURCE = Source("head", "head", "p", "head", "Running", beside=False)
HEAD, WORKER = f"{IDENTITY.name}-x-head", f"{IDENTITY.name}-x-worker-a10g-k9xkz"


def pod(name: str, kind: str, group: str, *containers: str) -> dict[str, Any]:
    labels = IDENTITY.labels | {"ray.io/node-type": kind, "ray.io/group": group}
    spec = {"containers": [{"name": container} for container in containers]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": "Running"}}


def stamped(second: int, text: str, nanoseconds: int = 0) -> str:
    return f"2026-11-22T08:00:{second:02d}.{nanoseconds:09d}Z {text}"


@pytest.fixture
def double() -> Iterator[KubernetesDouble]:
    with KubernetesDouble() as api:
        yield api


@pytest.fixture
def add(double: KubernetesDouble) -> Callable[..., None]:
    def made(name: str, kind: str, group: str, *containers: str) -> None:
        double.objects.create(double.kind("pods"), "serving", pod(name, kind, group, *containers), "kuberay")

    return made


@pytest.fixture
def logs(double: KubernetesDouble, add: Callable[..., None], tmp_path: Path) -> PodLogs:
    """A head with Ray's autoscaler beside it, and a worker; another site's pod is in the namespace, too."""
    add(HEAD, "head", "headgroup", "head", "autoscaler")
    add(WORKER, "worker", "a10g", "worker")
    other = pod("other", "worker", "a10g", "worker")
    other["metadata"]["labels"] = Identity("shop", "other", "serving").labels
    double.objects.create(double.kind("pods"), "serving", other, "kuberay")
    double.logs[HEAD, "head"] = [stamped(1, "head one"), stamped(4, "head two")]
    double.logs[HEAD, "autoscaler"] = [stamped(2, "no node")]
    double.logs[WORKER, "worker"] = [stamped(3, "worker one")]
    return PodLogs(IDENTITY.namespace, IDENTITY.selector, lambda: access(double.kubeconfig(tmp_path).name, tmp_path))


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_the_pods_have_short_names(logs: PodLogs) -> None:
    """Head, what is beside it, and each worker by its pool and the end of its pod's name; no pod of another site."""
    assert [source.name for source in logs.sources()] == ["head", "head/autoscaler", "a10g-k9xkz"]


def test_names_that_would_be_the_same_are_whole(add: Callable[..., None], logs: PodLogs) -> None:
    """Two heads, while KubeRay switches from one cluster to another, are told apart by their pods' names."""
    add(f"{IDENTITY.name}-y-head", "head", "headgroup", "head")
    assert [source.name for source in logs.sources() if source.pool == "head" and not source.beside] == [
        HEAD,
        f"{IDENTITY.name}-y-head",
    ]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        pytest.param("", ["head one", "worker one", "head two"], id="all-in-order-of-time"),
        pytest.param("head", ["head one", "head two"], id="head"),
        pytest.param("a10g", ["worker one"], id="pool"),
        pytest.param("a10g-k9xkz", ["worker one"], id="replica"),
        pytest.param(WORKER, ["worker one"], id="pod"),
        pytest.param("head/autoscaler", ["no node"], id="beside"),
    ],
)
def test_a_part_is_chosen_by_name(logs: PodLogs, part: str, found: list[str]) -> None:
    """The whole site, its head, a pool, one replica, or a container beside Ray, which is shown only by name."""
    assert texts(logs.last(part, 50)) == found


def test_the_last_lines_are_those_of_all_pods_together(logs: PodLogs) -> None:
    """So many lines of the site, not of each pod."""
    assert texts(logs.last("", 2)) == ["worker one", "head two"]


def test_older_lines_are_left_out(double: KubernetesDouble, logs: PodLogs) -> None:
    """The server counts the seconds from its own now, so that clocks need not agree."""
    double.logs[WORKER, "worker"].append("2999-01-01T00:00:00Z later")
    assert texts(logs.last("", 50, 3_600)) == ["later"]


def test_an_unknown_part_names_those_there_are(logs: PodLogs) -> None:
    """A pod that the site does not have is invalid input."""
    with pytest.raises(InvalidInput) as caught:
        logs.last("a10g-zzzzz", 5)
    assert caught.value.next_step == "use one of: head, head/autoscaler, a10g-k9xkz"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30), st.data())
def test_no_line_is_lost_or_twice(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    """However lines fall on times, and whenever it is asked, each comes once and in order; sinceTime has seconds."""
    written = [
        stamped(at // 3, f"line {number}", (at % 3) * 111)
        for number, at in enumerate(sorted(3 * second + part for second, part in steps))
    ]

    class Kubelet:
        shown = 0

        def list(self, *_: object, **__: object) -> list[dict[str, Any]]:
            return [pod(HEAD, "head", "headgroup", "head")]

        def log(self, _: str, name: str, query: dict[str, str], **__: object) -> bytes | None:
            since = query.get("sinceTime", "")[:19]
            lines = [line for line in written[: self.shown] if line[:19] >= since]
            return "".join(f"{line}\n" for line in lines[-int(query.get("tailLines", 1_000)) :]).encode()

    kubelet = Kubelet()
    followed = PodLogs("serving", IDENTITY.selector, lambda: kubelet)  # type: ignore[arg-type, return-value]
    seen = texts(followed.last("", 1_000))
    while kubelet.shown < len(written):
        kubelet.shown += data.draw(st.integers(1, 3))
        seen += texts(followed.poll())
    assert [*seen, *texts(followed.poll())] == [f"line {number}" for number in range(len(written))]


def test_a_new_pod_is_followed_from_its_beginning(
    double: KubernetesDouble, add: Callable[..., None], logs: PodLogs
) -> None:
    """What is launched while a site is followed is seen whole; a pod that is starting or gone is no error."""
    logs.last("", 50)
    add(f"{IDENTITY.name}-x-worker-a10g-aaaaa", "worker", "a10g", "worker")
    double.objects.delete(double.kind("pods"), "serving", WORKER)
    assert logs.poll() == []
    on_node = {"spec": {"nodeName": "n", "containers": [{"name": "worker"}]}}
    kind, name = double.kind("pods"), f"{IDENTITY.name}-x-worker-a10g-aaaaa"
    double.objects.patch(kind, "serving", name, lambda old: merged(old, on_node), "scheduler")
    assert logs.poll() == []
    double.logs[f"{IDENTITY.name}-x-worker-a10g-aaaaa", "worker"] = [stamped(0, "early"), stamped(9, "late")]
    assert texts(logs.poll()) == ["early", "late"]


def test_a_flood_is_passed_over_with_a_word(
    double: KubernetesDouble, logs: PodLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second with more than an answer may hold is left, said, and not asked for again; later lines come."""
    logs.last("", 50)
    monkeypatch.setattr(pod_logs, "POLL_BYTES", 400)
    flood = [stamped(5, f"flood {number}", number) for number in range(100)]
    double.logs[WORKER, "worker"] += [*flood, stamped(6, "after")]
    found = [text for _ in range(6) for text in texts(logs.poll())]
    assert found[0] == "flood 0"
    assert any(text.startswith("hcctl left lines out here") for text in found)
    assert found[-1] == "after"


def test_the_missing_right_is_named(double: KubernetesDouble, logs: PodLogs) -> None:
    """Who may not read logs is told verb and resource."""
    double.denied.add(("get", "pods/log"))
    with pytest.raises(Forbidden, match="may not get pods/log in namespace serving"):
        logs.last("", 5)


@given(st.binary(max_size=200))
def test_any_bytes_are_lines(body: bytes) -> None:
    """Whatever a container writes is shown; without a time stamp it has that of the line before."""
    found = read_lines(SOURCE, b"2026-01-01T00:00:00.5Z first\n" + body)
    assert found[0].at == "2026-01-01T00:00:00.500Z"
    assert all(line.at_ns >= 0 for line in found)


def test_a_pod_without_anything_has_no_log() -> None:
    """A pod as it is made, without labels or containers, is no error."""
    assert sources_of([{}, {"metadata": None, "spec": {"containers": None}}]) == ()


def test_out_of_reach_is_said_once(double: KubernetesDouble, logs: PodLogs) -> None:
    """While a log is followed the API server may go and come back: one word, and no line is missing."""
    told: list[str] = []
    reader = PodReader(logs, "a10g", since_s=None, tell=told.append)
    reader.last(5)
    double.logs[WORKER, "worker"].append(stamped(9, "meanwhile"))
    double.fail(500, times=2)
    assert [reader.poll(), reader.poll()] == [[], []]
    assert len(told) == 1
    assert [json.loads(line)["message"] for line in reader.poll()] == ["meanwhile"]


def test_a_pod_that_cannot_be_read_hides_no_other(double: KubernetesDouble, logs: PodLogs) -> None:
    """A pod's log that is out of reach is told once, and the others are shown; without any it is an error."""
    told: list[str] = []
    reader = PodReader(logs, "", since_s=None, tell=told.append)
    double.fail(500, times=1, verb="get", plural="pods")
    assert [json.loads(line)["message"] for line in reader.last(5)] == ["worker one"]
    double.fail(500, times=1, verb="get", plural="pods")
    assert reader.poll() == []
    assert [text.partition(":")[0] for text in told] == ["head cannot be read"]
    assert [json.loads(line)["message"] for line in reader.poll()] == ["head one", "head two"]
    double.fail(500, times=2, verb="get", plural="pods")
    with pytest.raises(SiteUnreachable):
        reader.last(5)


def test_a_dead_pod_hides_no_other(double: KubernetesDouble, logs: PodLogs) -> None:
    """An evicted pod, whose log the kubelet refuses, is told once; the others are shown, and are followed."""
    told: list[str] = []
    reader = PodReader(logs, "", since_s=None, tell=told.append)
    double.fail(400, times=1, verb="get", plural="pods")
    assert [json.loads(line)["message"] for line in reader.last(5)] == ["worker one"]
    double.logs[WORKER, "worker"].append(stamped(9, "meanwhile"))
    double.fail(400, times=1, verb="get", plural="pods")
    assert [json.loads(line)["message"] for line in reader.poll()] == ["meanwhile"]
    assert [text.partition(":")[0] for text in told] == ["head cannot be read"]


def test_more_than_an_answer_holds_is_its_end(
    double: KubernetesDouble, logs: PodLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where so many last lines are too long, the newest of them are shown, behind a word."""
    monkeypatch.setattr(api, "ANSWER_LIMIT_BYTES", 20_000)
    double.logs[WORKER, "worker"] = [stamped(5, f"{'x' * 300} {number}", number) for number in range(100)]
    said, *shown = texts(logs.last("a10g", 100))
    assert said.startswith("hcctl left older lines out here")
    assert [text.rpartition(" ")[2] for text in shown] == [str(number) for number in range(75, 100)]
    double.logs[WORKER, "worker"] = [stamped(6, "x" * 30_000)]
    with pytest.raises(AnswerTooLong, match="too long"):
        logs.last("a10g", 100)


def test_a_replica_s_own_json_keeps_its_fields(double: KubernetesDouble, logs: PodLogs) -> None:
    """JSON lines keep time and fields and get the true pod; others get time and pod, for people and programs alike."""
    own = {"time": "2026-11-22T07:00:00Z", "level": "info", "message": "up", "service": "shop"}
    double.logs[WORKER, "worker"] = [stamped(1, json.dumps(own | {"pod": "another"})), stamped(2, "plain")]
    one, two = PodReader(logs, "a10g", since_s=None, tell=print).last(5)
    assert json.loads(one) == own | {"pod": "a10g-k9xkz"}
    assert json.loads(two) == {"time": "2026-11-22T08:00:02.000Z", "pod": "a10g-k9xkz", "message": "plain"}
    assert readable(one).endswith("a10g-k9xkz info    shop up")
    assert readable(two).endswith("a10g-k9xkz plain")


@pytest.fixture
def project(double: KubernetesDouble, logs: PodLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose site `cluster` is in the double."""
    mine = {"kubeconfig": "kubeconfig.yaml", "namespace": "serving", "context": None}
    data = yaml.safe_load(valid_text("HybridProject"))
    data["name"], data["sites"]["cluster"] = "shop", merged(KUBERNETES_SITE, {"kubernetes": mine})
    double.kubeconfig(tmp_path)
    (tmp_path / "hcctl.yaml").write_text(json.dumps(data))
    folder = tmp_path / ".hcctl" / "logs"
    folder.mkdir(parents=True)
    (folder / "gateway.log").write_text("plain\n")
    monkeypatch.chdir(tmp_path)
    return folder


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_the_command_shows_pods_like_other_parts(project: Path) -> None:
    """Listed with the logs of this computer; shown by the same words, for people and as JSON."""
    assert [row["part"] for row in json.loads(hcctl("logs", "-o", "json").stdout)] == [
        "gateway",
        "site-cluster/head",
        "site-cluster/head/autoscaler",
        "site-cluster/a10g-k9xkz",
    ]
    shown = hcctl("logs", "site-cluster", "-n", "2").stdout.splitlines()
    assert [line.partition(" ")[2] for line in shown] == ["a10g-k9xkz worker one", "head head two"]
    (line,) = hcctl("logs", "site-cluster/a10g", "-o", "json").stdout.splitlines()
    assert json.loads(line)["pod"] == "a10g-k9xkz"
    assert hcctl("logs", "site-cluster/none").exit_code == 2
    assert "use one of: gateway, site-cluster" in hcctl("logs", "nobody").stderr


def own_pod(double: KubernetesDouble, name: str, component: str) -> None:
    """A pod of the chart, in the namespace of the state."""
    labels = {"app.kubernetes.io/name": "hcctl", "app.kubernetes.io/component": component}
    spec = {"containers": [{"name": component}]}
    made = {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": "Running"}}
    double.objects.create(double.kind("pods"), "shop-state", made, "kubelet")


@pytest.mark.parametrize("inside", [False, True], ids=["by-the-state", "from-its-own-pod"])
def test_daemons_and_gateways_in_pods(
    project: Path,
    double: KubernetesDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inside: bool,
) -> None:
    """Beside the state, or beside the pod that asks; the leader and those that stand by; a log here goes first."""
    for end, text in (("k9xkz", "leads"), ("7hqd2", "stands by")):
        own_pod(double, f"hcctl-daemon-7d9f8b6c5-{end}", "daemon")
        double.logs[f"hcctl-daemon-7d9f8b6c5-{end}", "daemon"] = [stamped(1, text)]
    own_pod(double, "hcctl-gateway-5c4d-abcde", "gateway")
    own_pod(double, "hcctl-test", "test")
    data = declaration(Path("kubeconfig.yaml"))
    data["state"]["namespace"] = "shop-state"
    if inside:
        del data["state"]
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv("POD_NAMESPACE", "shop-state")
        monkeypatch.setenv("KUBECONFIG", "kubeconfig.yaml")  # which the library has read already, when it was imported
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "kubeconfig.yaml")
    (tmp_path / "hcctl.yaml").write_text(json.dumps(data))
    parts = [row["part"] for row in json.loads(hcctl("logs", "-o", "json").stdout)]
    assert parts == ["gateway", "daemon-7hqd2", "daemon-k9xkz", "gateway-abcde"]
    shown = hcctl("logs", "daemon").stdout.splitlines()
    assert sorted(line.partition(" ")[2] for line in shown) == ["daemon-7hqd2 stands by", "daemon-k9xkz leads"]
    assert hcctl("logs", "daemon-k9xkz").stdout.endswith("leads\n")
    assert hcctl("logs", "gateway").stdout == "plain\n"
    assert hcctl("logs", "daemon-none").exit_code == 2
    assert "use one of: gateway, daemon, site-private, site-cloud" in hcctl("logs", "nobody").stderr


def test_the_command_follows_until_it_is_interrupted(
    project: Path, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--follow` asks once a second, shows what came, and ends with Ctrl-C like any command."""
    pauses: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) > 2:
            raise KeyboardInterrupt
        double.logs[WORKER, "worker"].append(stamped(10 + len(pauses), f"new {len(pauses)}"))

    monkeypatch.setattr("time.sleep", sleep)
    done = hcctl("logs", "site-cluster/a10g", "--follow", "-n", "1")
    assert [line.rpartition("xkz ")[2] for line in done.stdout.splitlines()] == [
        "worker one",
        "new 1",
        "new 2",
    ]
    assert pauses == [1.0, 1.0, 1.0]
    assert done.exit_code == 130


def test_a_site_out_of_reach_hides_no_other_log(project: Path, double: KubernetesDouble) -> None:
    """The list has what can be listed; what cannot is told on stderr."""
    double.denied.add(("list", "pods"))
    done = hcctl("logs", "-o", "json")
    assert [row["part"] for row in json.loads(done.stdout)] == ["gateway"]
    assert "may not list pods" in " ".join(done.stderr.split())


def test_since_needs_lines_that_say_their_time(project: Path) -> None:
    """Of this computer's logs older lines are left out by their own time; where none is told that is an error."""
    old, new = (json.dumps({"time": at, "message": at[:4]}) for at in ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"))
    (project / "daemon.log").write_text(f"{old}\nof the old\n{new}\nof the new\n")
    assert [line[-10:] for line in hcctl("logs", "daemon", "--since", "1h").stdout.splitlines()] == [
        readable(new)[-10:],
        "of the new",
    ]
    refused = hcctl("logs", "gateway", "--since", "1h")
    assert refused.exit_code == 2
    assert "no line of gateway says its time" in refused.stderr
