"""A secret is a type: however it is printed, logged, dumped or thrown, asterisks come out."""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from cli import output
from cli.commands import diff
from cli.main import app
from serving.errors import HcctlError
from serving.sites.serve_api import ServeApi
from serving.sites.site import Endpoint

secrets = st.text("0123456789abcdefghijklmnopqrstuvwxyz_-", min_size=8, max_size=80).map("5ecret".__add__)


class Holder(BaseModel):
    """Any object with a secret in it."""

    token: SecretStr


def as_log_line(secret: SecretStr) -> str:
    """What a logger writes of it."""
    stream = io.StringIO()
    logger = logging.Logger("redaction")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("token %s of %r", secret, {"token": secret})
    return stream.getvalue()


def as_error(secret: SecretStr) -> str:
    """What an error and its traceback say."""
    try:
        raise HcctlError("it failed", where=f"{secret}", why=repr(secret), next_step=str([secret]))
    except HcctlError as error:
        return "".join(traceback.format_exception(error)) + error.one_line()


def as_output(output_format: output.Output) -> Callable[[SecretStr], str]:
    """What `emit` prints of rows and objects that hold it."""

    def printed(secret: SecretStr) -> str:
        @click.command()
        def show() -> None:
            output.emit({"name": "x", "token": secret, "all": [secret]}, output_format)
            output.emit([{"name": "x", "token": secret}], output_format)

        done = CliRunner().invoke(show)
        assert done.exit_code == 0
        return done.output

    return printed


WAYS: dict[str, Callable[[SecretStr], str]] = {
    "text": lambda secret: f"{secret} {secret!r} {(secret,)}",
    "model": lambda secret: f"{Holder(token=secret)!r} {Holder(token=secret).model_dump_json()}",
    "log line": as_log_line,
    "error": as_error,
    "table": as_output("table"),
    "json": as_output("json"),
    "yaml": as_output("yaml"),
    "plain": lambda secret: json.dumps(output.plain({"token": secret})),
    "client": lambda secret: f"{vars(ServeApi(Endpoint('127.0.0.1', 1), secret))}",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@given(secrets)
def test_a_secret_shows_asterisks(way: Callable[[SecretStr], str], secret: str) -> None:
    """None of its text comes out in any way of printing."""
    told = way(SecretStr(secret))
    assert "***" in told
    assert secret not in told


def test_a_bug_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the one line of a bug nor the traceback with --debug prints values of variables."""

    @click.command("diff")
    def broken() -> None:
        token = SecretStr("5ecret-of-a-bug")
        raise RuntimeError(f"unexpected {token}")

    monkeypatch.setattr(diff, "command", broken)
    for arguments in (["diff"], ["--debug", "diff"]):
        done = CliRunner().invoke(app, arguments)
        assert "unexpected ***" in done.output
        assert "5ecret-of" not in done.output.replace('SecretStr("5ecret-of-a-bug")', "")
