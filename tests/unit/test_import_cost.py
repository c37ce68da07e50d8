"""`hcctl --help` stays fast: what its start imports is bounded by name, not by a stopwatch."""

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from cli.main import HELP, module_of

ROOT = Path(__file__).parents[2]
HEAVY = (
    "ray",
    "torch",
    "pydantic",
    "httpx",
    "rich",
    "matplotlib",
    "numpy",
    "yaml",
    "psutil",
    "asyncio",
    "cli.commands.",
)


def imported_by(code: str) -> set[str]:
    """Modules that a fresh interpreter holds after running the code."""
    script = f"import sys, io, contextlib\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def heavy(modules: set[str]) -> list[str]:
    return sorted(module for module in modules if module.startswith(HEAVY))


def test_start_imports_nothing_heavy() -> None:
    """The entry point imports click and the standard library only, and no verb."""
    assert heavy(imported_by("import cli.main")) == []


def test_help_imports_nothing_heavy() -> None:
    """Printing the help imports no verb and no library either."""
    code = (
        "from cli.main import app\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    app(['--help'])"
    )
    assert heavy(imported_by(code)) == []


@pytest.mark.parametrize("verb", HELP)
def test_every_verb_is_there(verb: str) -> None:
    """Each verb of the table has its module, found without importing it."""
    assert importlib.util.find_spec(module_of(verb)) is not None


def added_modules() -> set[str]:
    """Top-level modules of the packages that only the checks, the other extras or training need."""
    locked = [
        name
        for layer in ("checks-", "train-")
        for lock in (ROOT / "requirements").glob(f"{layer}py3.*.txt")
        for name in re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE)
    ]
    wanted = {canonicalize_name(name) for name in locked}
    return {
        module
        for module, packages in packages_distributions().items()
        if wanted.issuperset(canonicalize_name(package) for package in packages)
    }


def test_the_demo_needs_no_extra() -> None:
    """What the demo generates, trains and serves with can be imported where only the product's own packages are."""
    absent = f"sys.modules.update(dict.fromkeys({sorted(added_modules())}))\n"
    found = imported_by(
        absent + "import serving.recommender.demo.__main__, serving.recommender.demo.app, cli.commands.demo, "
        "serving.sites.local"
    )
    assert "torch" in found
