"""The reference page is the schema."""

import importlib.util
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "spec.md"


def test_reference_is_up_to_date() -> None:
    """docs/reference/spec.md is what its generator writes from the models of today."""
    spec = importlib.util.spec_from_file_location("generate", PAGE.with_name("generate.py"))
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert PAGE.read_text() == generate.reference(), "run `python docs/reference/generate.py`"
