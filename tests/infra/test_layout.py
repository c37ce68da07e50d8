"""The folder is a package and a Pulumi project at once, and stands alone."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from infra.outputs import StackOutputs, UnknownOutputs, read

FOLDER = Path(__file__).parents[2] / "infra"
MODULES = sorted(FOLDER.glob("*.py"))


def test_no_file_shadows_a_library() -> None:
    """Pulumi puts the folder first on sys.path: no module there has the name of a library."""
    names = {path.stem for path in MODULES} - {"__init__", "__main__"}
    assert names & (set(sys.stdlib_module_names) | set(packages_distributions())) == set()


def test_it_imports_nothing_of_the_rest() -> None:
    """`pulumi up` in the folder needs pulumi and pydantic, not the daemon, Ray or torch."""
    allowed = {"__future__", "infra", "pulumi", "pulumi_aws", "pulumi_command", "pulumi_kubernetes", "pydantic", "yaml"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.split(".")[0] for name in names}
            assert tops <= allowed | set(sys.stdlib_module_names), path.name


def test_a_file_has_one_component() -> None:
    """One ComponentResource per file."""
    for path in MODULES:
        classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        components = [c for c in classes if any("ComponentResource" in ast.unparse(base) for base in c.bases)]
        assert len(components) <= 1, path.name


def test_it_is_a_pulumi_project() -> None:
    """Name and runtime are those that the program and `hcctl infra` use."""
    project = yaml.safe_load((FOLDER / "Pulumi.yaml").read_text())
    assert (project["name"], project["runtime"]["name"]) == ("hcctl", "python")


@pytest.mark.parametrize(
    ("change", "says"),
    [({"extra": 1}, "output extra"), ({"format": 2}, "output format"), ({"pools": None}, "output pools")],
)
def test_outputs_of_another_program_are_refused(change: dict[str, object], says: str) -> None:
    """A reader gets the name of the first output that is not as declared."""
    good: dict[str, object] = dict.fromkeys(StackOutputs.model_fields, "x") | {
        "format": 1,
        "pools": [],
        "repository_urls": {},
    }
    assert read(good).region == "x"
    with pytest.raises(UnknownOutputs, match=says):
        read(good | change)
