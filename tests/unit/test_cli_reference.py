"""The page of the command line is the command line."""

import importlib.util
from pathlib import Path

from cli.main import HELP
from serving import errors

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"


def generator():
    """The module docs/reference/generate_cli.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "reference" / "generate_cli.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date() -> None:
    """docs/cli.md is what its generator writes from the commands of today."""
    assert PAGE.read_text() == generator().reference(), "run `python docs/reference/generate_cli.py`"


def test_page_has_every_verb() -> None:
    """Each verb has its section."""
    sections = PAGE.read_text().splitlines()
    assert [verb for verb in HELP if f"### `hcctl {verb}`" not in sections] == []


def test_page_explains_every_exit_code() -> None:
    """Each exit code of the error family is in the table."""
    family = [errors.HcctlError, *errors.HcctlError.__subclasses__()]
    explained = {code for code, _ in generator().MEANINGS}
    assert {error.exit_code for error in family} <= explained
