"""`hcctl support-bundle`: all that helps, and nothing that is secret."""

from __future__ import annotations

import json
import stat
import tarfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import app
from serving.paths import ProjectPaths, private_dir
from serving.redact import REDACTED, is_secret_name, redact, redact_value
from serving.sqlite_store import SqliteStore

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEplantedplanted\nsecondplantedline\n-----END EC PRIVATE KEY-----"
PLANTED = {
    "site token": "5f" * 32,
    "environment": "planted-environment-value",
    "yaml": "planted-yaml-value",
    "block": "planted block value",
    "intent": "planted-intent-value",
    "header": "planted.header/value==",
    "cookie": "session=plantedcookie",
    "aws": "AKIAPLANTEDPLANTED12",
    "jwt": "eyJplanted0.eyJplanted1.planted2",
    "github": "ghp_plantedplantedplantedplanted",
    "pem": "plantedplanted",
    "pem line": "secondplantedline",
    "address": "user:plantedpassword",
    "json": "planted-json-value",
    "argument": "planted-argument-value",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPaths:
    """A project with a secret in every place that the bundle reads."""
    home = tmp_path / "home" / "plantedname"
    root = home / "shop"
    root.mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CLOUD_API_TOKEN", PLANTED["environment"])
    assert hcctl("init", "--name", "shop").exit_code == 0
    secret = hcctl("key", "add", "ci").stdout.strip()
    monkeypatch.setitem(PLANTED, "api key", secret)
    paths = ProjectPaths(root)
    with (root / "service.yaml").open("a") as file:
        file.write(f"extra:\n  db_password: {PLANTED['yaml']}\n  api_key: |\n    {PLANTED['block']}\n# {secret}\n")
    store = SqliteStore(paths.database)
    body = {"spec": {"env": {"HF_TOKEN": PLANTED["intent"]}}, "note": f"see {home}/shop"}
    store.put_intent("service", "shop", body, expected_revision=0, at_s=1.0)
    reason = f"401: Authorization: Bearer {PLANTED['header']}"
    store.append_decisions((("shop", {"action": "scale", "reason": reason}),), at_s=1.0, keep=100)
    store.begin_action("k", {"site": "cloud", "reason": reason, "decision": 1}, at_s=1.0)
    store.close()
    private_dir(paths.log_dir)
    (paths.log_dir / "daemon.log").write_text("\n".join(_lines(home, secret)) + "\n")
    (paths.log_dir / "site-private.log").write_text("x" * 1_000_000 + f"\nthe end {PLANTED['site token']}\n")
    private_dir(paths.site_dir("private"))
    (paths.site_dir("private") / "token").write_text(PLANTED["site token"])
    private_dir(paths.gateway_dir)
    (paths.gateway_dir / "haproxy.cfg").write_text(f"frontend shop\n  # Bearer {PLANTED['header']}\n")
    (paths.gateway_dir / "keys.map").write_text("planted-key-map")
    return paths


def _lines(home: Path, secret: str) -> list[str]:
    return [
        f"GET / Authorization: Basic {PLANTED['header']}",
        f"authorization={PLANTED['header']} and Cookie: {PLANTED['cookie']}",
        f"key {secret} and {PLANTED['aws']} {PLANTED['jwt']} {PLANTED['github']}",
        PEM,
        f"connecting to postgres://{PLANTED['address']}@db.example/shop",
        json.dumps({"time": "t", "message": "x", "access_key": PLANTED["json"]}),
        f"tool --api-key {PLANTED['argument']} and {home}/shop/model.py",
        f"environment {PLANTED['environment']}",
    ]


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def bundle_of(paths: ProjectPaths) -> dict[str, str]:
    file = paths.root.parent.parent / "bundle.tar.gz"
    assert hcctl("support-bundle", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as archive:
        found = {}
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            found[member.name.removeprefix("hcctl-support/")] = content.read().decode()
    return found


def test_nothing_secret_is_in_a_bundle(project: ProjectPaths) -> None:
    """Of the secrets planted in files, state, logs, environment and sites none is found, nor the home folder."""
    for name, text in bundle_of(project).items():
        for kind, secret in PLANTED.items():
            assert secret not in text, f"{kind} in {name}"
        assert "planted" not in text, name


def test_a_bundle_has_what_helps(project: ProjectPaths) -> None:
    """Versions, machine, doctor, declared files, state, decisions with numbers, journal, gateway and logs are there."""
    found = bundle_of(project)
    state = {f"state/{n}.json" for n in ("intents", "status", "daemon", "releases", "decisions", "journal", "ledger")}
    files = {"README.txt", "versions.json", "machine.json", "doctor.json", "hcctl.yaml", "service.yaml"}
    assert set(found) == state | files | {"gateway/haproxy.cfg", "logs/daemon.log", "logs/site-private.log"}
    assert json.loads(found["versions.json"])["ray"]
    assert {row["field"] for row in json.loads(found["doctor.json"])} >= {"memory", "state database"}
    assert json.loads(found["state/decisions.json"])[0]["number"] == 1
    assert json.loads(found["state/journal.json"])[0]["action"]["decision"] == 1
    assert found["gateway/haproxy.cfg"].startswith("frontend shop")
    assert found["logs/site-private.log"] == f"the end {REDACTED}\n"
    assert "~/shop" in found["state/intents.json"]


def test_a_broken_project_still_gives_a_bundle(project: ProjectPaths) -> None:
    """What cannot be read is named with its reason; the rest is there."""
    project.database.write_bytes(b"no database" * 1_000)
    project.project_file.write_text(": {")
    (project.gateway_dir / "haproxy.cfg").unlink()
    (project.site_dir("private") / "token").write_bytes(b"\xff\xfe\x80")
    found = bundle_of(project)
    assert "damaged" in found["state/decisions.json.error.txt"]
    assert "FileNotFoundError" in found["gateway/haproxy.cfg.error.txt"]
    assert found["hcctl.yaml"] == ": {"
    assert "logs/daemon.log" in found


def test_a_file_that_exists_is_not_written_over(project: ProjectPaths) -> None:
    """One clear error, exit code 2; without a name the file stands in the working folder."""
    taken = project.root / "taken.tar.gz"
    taken.write_text("mine")
    assert hcctl("support-bundle", str(taken)).exit_code == 2
    assert taken.read_text() == "mine"
    assert hcctl("support-bundle").exit_code == 0
    assert len(list(project.root.glob("hcctl-support-*.tar.gz"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "p99 0.4 s of 0.5 s; 3 -> 4 replicas",
        "monkey: banana, keyboard: us",
        "https://example.org/a?b=c",
        "basic rules apply, bearer of news",
        "/homes/x and x/home/y stay",
        "tokens are counted",
    ],
)
def test_plain_words_stay(text: str) -> None:
    """What is no secret is not touched."""
    assert redact(text) == text


def test_values_are_redacted_by_their_name() -> None:
    """Under a secret's name a text, list or mapping goes whole; numbers and flags stay."""
    value = {"api_key": ["a"], "max_tokens": 5, "nested": [{"Password": {"x": "y"}, "name": "shop"}], "token": None}
    assert redact_value(value) == {
        "api_key": REDACTED,
        "max_tokens": 5,
        "nested": [{"Password": REDACTED, "name": "shop"}],
        "token": None,
    }
    assert [is_secret_name(name) for name in ("AWS_SECRET_ACCESS_KEY", "Authorization", "monkey", "site")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "piece",
    [
        *("a.", "a-", "token", "token ", "token:", "-token ", "eyJ-", "eyJ", "bearer ", "://", "a://b"),
        *("/home/", "-----BEGIN X-----", "cookie", "authorization: ", "hcctl_", '"secret": "', " "),
    ],
)
def test_hostile_text_costs_time_in_proportion(piece: str) -> None:
    """A log of one repeated piece, 200 kB long, is redacted at once, not in the square of its length."""
    text = piece * (200_000 // len(piece))
    begun_s = time.process_time()
    redact(text)
    assert time.process_time() - begun_s < 5.0
