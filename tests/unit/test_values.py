"""Frozen values of which little changes."""

from __future__ import annotations

import pytest

from autoscaler.state import ServiceState
from autoscaler.values import updated


def test_what_does_not_differ_is_not_copied() -> None:
    """The same object where all fields are as they were, another one where a field is not; the first stays as it is."""
    state = ServiceState(targets={"private": 2})
    assert updated(state, targets={"private": 2}, home_served=False) is state
    grown = updated(state, targets={"private": 3}, home_served=False)
    assert (grown.targets, state.targets) == ({"private": 3}, {"private": 2})


def test_a_field_that_is_not_there_is_an_error() -> None:
    """A misspelt name changes nothing silently."""
    with pytest.raises(AttributeError):
        updated(ServiceState(), target={})
