"""Layers: arrows point down, and the recommender enters by import path only."""

from pathlib import Path

from importlinter.application.use_cases import SUCCESS, lint_imports
from importlinter.configuration import configure

ROOT = Path(__file__).parents[2]


def test_import_contracts_hold(capsys) -> None:
    """Every contract of [tool.importlinter] in pyproject.toml is kept."""
    configure()
    kept = lint_imports(config_filename=str(ROOT / "pyproject.toml"), is_debug_mode=False, cache_dir=None)
    assert kept == SUCCESS, capsys.readouterr().out
