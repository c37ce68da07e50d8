"""`hcctl infra`: what is refused before the engine, what the engine is asked, and what its answers become."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import app
from infra.outputs import StackOutputs


def infra(*words: str, answer: str | None = None) -> Result:
    """Run `hcctl infra ...`."""
    return CliRunner().invoke(app, ["infra", *words], input=answer)


@pytest.mark.parametrize("verb", ["preview", "up", "outputs", "destroy"])
def test_without_the_engine_there_is_one_clear_error(folder: Path, verb: str) -> None:
    """Exit code 1, and the next step is to install it."""
    done = infra(verb, "--stack", "prod")
    assert done.exit_code == 1
    assert "the Pulumi engine is not installed" in done.stderr
    assert "https://www.pulumi.com/docs/install/" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["staging", pytest.param("x" * 300, id="longer-than-a-file-s-name")])
def test_an_unknown_stack_is_named(folder: Path, name: str) -> None:
    """Exit code 2, with the file that is missing."""
    done = infra("up", "--stack", name)
    assert done.exit_code == 2
    assert f"Pulumi.{name}.yaml" in "".join(done.stderr.split())


def test_a_wrong_field_is_named_with_its_line(folder: Path, engine: Path) -> None:
    """The configuration is checked before the engine is asked anything."""
    file = folder / "Pulumi.prod.yaml"
    file.write_text(file.read_text().replace("vpc_cidr: 10.64.0.0/16", "vpc_cidr: 192.168.0.0/16"))
    done = infra("up", "--stack", "prod", "-y")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "vpc_cidr" in text)
    assert done.exit_code == 2
    assert f"Pulumi.prod.yaml:{line} config.hcctl:stack.network.vpc_cidr" in done.stderr
    assert "overlaps on_prem.cidrs.0 192.168.0.0/16" in done.stderr
    assert not engine.exists()


def test_an_unknown_price_is_refused_before_anything_is_made(folder: Path, engine: Path) -> None:
    """No estimate, no `up`: the next step names the file to write."""
    file = folder / "Pulumi.prod.yaml"
    file.write_text(file.read_text().replace("us-east-1", "eu-west-1"))
    done = infra("up", "--stack", "prod", "-y")
    assert done.exit_code == 2
    assert "no prices of eu-west-1" in done.stderr
    assert "--prices" in done.stderr
    assert not engine.exists()


def test_up_tells_the_cost_and_asks(folder: Path, engine: Path) -> None:
    """The cost comes before the question; without a yes nothing is applied."""
    done = infra("up", "--stack", "prod", answer="n\n")
    assert done.exit_code == 130
    assert done.stderr.index("a month costs $") < done.stderr.index("Apply stack prod?")
    assert not any(line.split()[1:2] == ["up"] for line in engine.read_text().splitlines())


def test_up_applies_this_program_in_this_folder(folder: Path, engine: Path) -> None:
    """The engine is given the stack and our program, running in this process."""
    done = infra("up", "--stack", "prod", "--yes")
    assert done.exit_code == 0, done.output
    (call,) = [line for line in engine.read_text().splitlines() if " up " in f" {line} "]
    assert "--yes" in call
    assert "--stack prod" in call
    assert "--exec-kind auto.inline" in call
    assert "stack prod stands" in done.stderr


def test_preview_changes_nothing_and_prints_the_month(folder: Path, engine: Path) -> None:
    """The engine is asked for a preview only; data is the estimate, exact in JSON."""
    done = infra("preview", "--stack", "prod", "-o", "json")
    assert done.exit_code == 0, done.output
    month = json.loads(done.stdout)
    assert month["lines"][-1]["item"] == "month"
    assert 0 < month["lines"][-1]["usd_at_rest"] < month["lines"][-1]["usd_at_full_size"]
    asked = [line for line in engine.read_text().splitlines() if "--exec-kind" in line]
    assert [line.split()[1] for line in asked] == ["preview"]


def test_what_the_engine_refuses_is_told_in_one_error(
    folder: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason, the stack and the next step; exit code 1; no traceback."""
    monkeypatch.setenv("ENGINE_FAILS", "resource hcctl-prod-models is protected")
    done = infra("destroy", "--stack", "prod", "-y")
    assert done.exit_code == 1
    assert "Pulumi did not finish" in done.stderr
    assert "hcctl-prod-models is protected" in done.stderr


@pytest.mark.parametrize(("asked", "shown"), [((), None), (("--show-secrets",), "door")])
def test_outputs_hide_what_opens_a_door(folder: Path, engine: Path, asked: tuple[str, ...], shown: str | None) -> None:
    """All outputs of the contract; the secret one is null until it is asked for."""
    done = infra("outputs", "--stack", "prod", *asked, "-o", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found) == set(StackOutputs.model_fields)
    assert found["on_prem_kubeconfig"] == shown


def test_outputs_of_a_stack_that_never_stood(folder: Path, engine: Path) -> None:
    """No output is an error that says what to run."""
    (folder / "outputs.json").write_text("{}")
    done = infra("outputs", "--stack", "prod")
    assert done.exit_code == 2
    assert "hcctl infra up --stack prod" in done.stderr


def test_destroy_wants_the_name(folder: Path, engine: Path) -> None:
    """A wrong name destroys nothing."""
    done = infra("destroy", "--stack", "prod", answer="yes\n")
    assert done.exit_code == 2
    assert "nothing was destroyed" in done.stderr
    assert not any("destroy" in line.split()[:3] for line in engine.read_text().splitlines())


def test_help_loads_no_pulumi() -> None:
    """Only a command that needs it pays for the library."""
    import subprocess
    import sys

    script = "import sys, cli.commands.infra; print('pulumi' in sys.modules or 'infra' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False"
