"""Logs: one JSON object per line, without secrets; bounded; read across their rotation."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from click.testing import CliRunner, Result

from cli.log_reader import LogReader, readable
from cli.main import app
from serving import logs
from serving.errors import HcctlError
from serving.files import atomic_file
from serving.logs import KEPT, JsonLines, rotate
from serving.supervisor import _rotate_logs
from tests.support.daemon_rig import DaemonRig
from tests.support.processes import in_child, limit_file_size

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 1_000)


def line_of(message: str, *args: object, **fields: object) -> dict[str, object]:
    record = logging.LogRecord("autoscaler.daemon", logging.INFO, "x.py", 1, message, args, None)
    record.__dict__ |= fields
    record.created = 1_800_000_000.25
    text = JsonLines().format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_line_is_one_object_with_what_is_known() -> None:
    """Time in RFC 3339, level, logger and message always; ids where they are known; nothing else."""
    assert line_of("scale: %s", "two\nlines", service="shop", decision=7, site=None) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "logger": "autoscaler.daemon",
        "message": "scale: two\nlines",
        "service": "shop",
        "decision": 7,
    }


def test_no_secret_is_logged_and_no_message_is_endless() -> None:
    """Known forms of secrets are taken out, and a message has a longest length."""
    assert "hunter22" not in json.dumps(line_of("401 for Authorization: Bearer %s", "hunter22hunter22"))
    assert len(str(line_of("x" * 100_000)["message"])) == logs.LONGEST_MESSAGE


def test_a_traceback_stays_in_its_line() -> None:
    """An exception is a field, so that one event stays one line."""
    try:
        raise ValueError("no")
    except ValueError as problem:
        found = line_of("failed", exc_info=(type(problem), problem, problem.__traceback__))
    assert str(found["exception"]).endswith("ValueError: no")


def test_no_traceback_is_endless() -> None:
    """Of a long one its end is logged, without secrets."""
    problem = ValueError(f"{'x' * 100_000} Authorization: Bearer hunter22hunter22\nno")
    said = str(line_of("failed", exc_info=(ValueError, problem, None))["exception"])
    assert len(said) <= logs.LONGEST_TRACEBACK
    assert said.endswith("\nno")
    assert "hunter22" not in said


@pytest.mark.parametrize("module", ["serving.supervisor", "autoscaler"])
def test_a_process_logs_json_from_its_start(module: str) -> None:
    """Daemon and supervisor write JSON lines to stderr, whoever starts them; libraries' chatter stays out."""
    code = (
        "import logging, serving.logs\n"
        "serving.logs.log_as_json()\n"
        f"logging.getLogger({module!r}).info('up')\n"
        "logging.getLogger('httpx').info('chatter')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [json.loads(line)["logger"] for line in done.stderr.splitlines()] == [module]


def test_every_decision_in_the_log_is_found_by_its_number(caplog: pytest.LogCaptureFixture) -> None:
    """What the daemon logs with a number is that decision in the store, and each stored one is logged, once."""
    caplog.set_level(logging.INFO)
    rig = DaemonRig()
    rig.deploy("v1")
    rig.run(30)
    rig.restart()
    rig.deploy("v2")
    rig.failing_probes = {"none"}
    rig.load(30, rate_rps=4, total_s=0.9)
    said = [r for r in caplog.records if r.name == "autoscaler.decisions"]
    told = {r.decision: r.getMessage() for r in said}
    stored = {d.number: f"{d.body['action']}: {d.body['reason']}" for d in rig.store.decisions(limit=1_000)}
    assert told == stored
    assert len(said) == len(stored) > 8


def test_an_action_names_the_decision_it_follows_from(caplog: pytest.LogCaptureFixture) -> None:
    """Journal and log of an action carry the number of a decision about its site; the failure names its key."""
    caplog.set_level(logging.INFO)
    rig = DaemonRig()
    rig.deploy("v1")
    rig.load(90, rate_rps=4, total_s=0.9)
    rig.sites["private"].crash()
    rig.run(20)
    stored = {d.number: d for d in rig.store.decisions(limit=1_000)}
    journal = [(entry.key, entry.action) for entry in reversed(rig.store.actions(limit=1_000))]
    assert len(journal) > 4
    for key, action in journal:
        decision = stored[action["decision"]]
        assert decision.body.get("site", action["site"]) == action["site"] == key.partition("/")[0]
        if action["kind"] != "ScaleApplication":
            assert decision.body["reason"] == action["reason"]
    begun = [(r.key, r.decision) for r in caplog.records if r.getMessage().endswith(" begins")]
    assert begun == [(key, action["decision"]) for key, action in journal]
    assert any(action["kind"] == "ScaleApplication" for _, action in journal)


def test_a_log_is_bounded_and_its_writer_goes_on(tmp_path: Path, small: None) -> None:
    """Rotation copies and truncates: a process that appends needs no signal, and pieces beyond the bound go."""
    log = tmp_path / "site-private.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(400):
            writer.write(b"line %06d 0123456789\n" % number)
            rotate(log)
    assert sorted(path.name for path in tmp_path.iterdir()) == [log.name, *(f"{log.name}.{n + 1}" for n in range(KEPT))]
    assert all(path.stat().st_size <= 1_000 + 23 for path in tmp_path.iterdir())
    lines = LogReader(log).last(100)
    assert lines == [f"line {number:06d} 0123456789" for number in range(300, 400)]
    assert {oct(path.stat().st_mode & 0o777) for path in logs.pieces(log)[:-1]} == {"0o600"}


def test_a_small_log_and_no_log_are_left_alone(tmp_path: Path, small: None) -> None:
    """Nothing happens below the bound, to a missing log, or through a link."""
    log, target = tmp_path / "a.log", tmp_path / "target"
    log.write_bytes(b"x" * 1_000)
    target.write_bytes(b"x" * 5_000)
    (tmp_path / "b.log").symlink_to(target)
    assert [rotate(log), rotate(tmp_path / "b.log"), rotate(tmp_path / "c.log")] == [False, False, False]
    assert (log.stat().st_size, target.stat().st_size) == (1_000, 5_000)


def test_a_full_disk_costs_no_line(tmp_path: Path, small: None) -> None:
    """When there is no room for the copy, log and pieces stay as they were."""
    log = tmp_path / "daemon.log"
    log.write_bytes(b"x" * 5_000)
    (tmp_path / "daemon.log.1").write_bytes(b"former")

    def work() -> None:
        limit_file_size(2_000)
        with pytest.raises(HcctlError):
            rotate(log)

    assert in_child(work) == 0
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"daemon.log": 5_000, "daemon.log.1": 6}


def test_a_disk_that_is_full_halfway_ends_nobody(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No room for what was written during the copy: the supervisor logs it and goes on, and the log has every line."""
    log = tmp_path / "daemon.log"
    log.write_bytes(b"x" * 5_000)

    @contextmanager
    def full_after(path: Path) -> Iterator[BinaryIO]:
        with atomic_file(path) as copy:
            yield copy
        with log.open("ab") as writer:
            writer.write(b"late\n")
        limit_file_size(5_000)

    def work() -> None:
        monkeypatch.setattr(logs, "atomic_file", full_after)
        assert not _rotate_logs({tmp_path})
        assert "the log was not rotated" in caplog.text

    assert in_child(work) == 0
    assert log.read_bytes() == b"x" * 5_000 + b"late\n"


def test_a_reader_that_follows_misses_nothing(tmp_path: Path, small: None) -> None:
    """Lines written before, in and after a rotation come once each, whole and in order."""
    log, seen = tmp_path / "gateway.log", []
    log.write_bytes(b"")
    reader = LogReader(log)
    reader.last(10)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number in range(300):
        os.write(descriptor, b"line %04d" % number)
        if number % 7 == 0:
            seen += reader.poll()
        os.write(descriptor, b" end\n")
        rotate(log)
        if number % 5 == 0:
            seen += reader.poll()
    os.close(descriptor)
    seen += reader.poll()
    assert seen == [f"line {number:04d} end" for number in range(300)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    assert hcctl("init", "--name", "shop").exit_code == 0
    folder = tmp_path / ".hcctl" / "logs"
    folder.mkdir(parents=True)
    text = json.dumps(
        {"time": "2027-01-15T08:00:00.250Z", "level": "info", "logger": "l", "message": "scale: p99", "decision": 7}
        | {"service": "shop", "site": "cloud"}
    )
    (folder / "daemon.log").write_text(f'{text}\nnot \x1b[31mjson\n{text[:-1]}, "request_id": "abc"}}\n')
    return folder


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_logs_are_shown_for_people_and_for_programs(project: Path) -> None:
    """A table line tells time, level, whom, what and the decision; `-o json` is one object per line, always."""
    shown = hcctl("logs", "daemon").stdout.splitlines()
    assert shown[0].endswith("info    shop@cloud scale: p99 #7")
    assert shown[1] == "not \N{REPLACEMENT CHARACTER}[31mjson"
    assert shown[2].endswith("request abc #7")
    objects = [json.loads(line) for line in hcctl("logs", "daemon", "-o", "json").stdout.splitlines()]
    assert [one["message"] for one in objects] == ["scale: p99", "not \x1b[31mjson", "scale: p99"]
    assert [one["part"] for one in json.loads(hcctl("logs", "-o", "json").stdout)] == ["daemon"]
    assert hcctl("logs", "nobody").exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        *["", "{", "[1]", "1", '{"time": 1, "message": "x"}', '{"time": "soon", "message": 2}'],
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"time": "0001-01-01T00:00:00+14:00", "message": "x"}', id="before-all-time"),
    ],
)
def test_a_line_of_another_program_is_shown_as_it_is(line: str) -> None:
    """What only looks like one of ours is no error."""
    assert readable(line) == line


@pytest.mark.parametrize("words", [[], ["-o", "json"]])
def test_any_json_of_another_program_can_be_printed(project: Path, words: list[str]) -> None:
    """Half a character, which no encoding has, and a level that is no text are shown, and end nothing."""
    line = '{"time": "2026-11-22T08:00:00Z", "level": {"no": 3}, "message": "half \\ud83d"}'
    (project / "daemon.log").write_text(line + "\n")
    done = hcctl("logs", "daemon", *words)
    assert (done.exit_code, "half \N{REPLACEMENT CHARACTER}" in done.stdout) == (0, True), done.stderr
