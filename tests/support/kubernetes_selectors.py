"""Label and field selectors, as an API server reads them."""

from __future__ import annotations

import re

from tests.support.json_fields import Object, at


def selected(item: Object, query: dict[str, str]) -> bool:
    """Whether label and field selectors choose an object."""
    labels = item["metadata"].get("labels", {})
    chosen = all(_label_chosen(labels, term) for term in _terms(query.get("labelSelector", "")))
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = term.partition("=")
        chosen = chosen and at(item, tuple(path.split("."))) == value.removeprefix("=")
    return chosen


def _terms(selector: str) -> list[str]:
    """The requirements of a label selector: commas within brackets part none."""
    return [term.strip() for term in re.split(r",(?![^(]*\))", selector) if term.strip()]


def _label_chosen(labels: dict[str, str], term: str) -> bool:
    if found := re.fullmatch(r"(\S+) (in|notin) \(([^)]*)\)", term):
        values = {value.strip() for value in found[3].split(",")}
        return (labels.get(found[1]) in values) == (found[2] == "in")
    if found := re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", term):
        return (labels.get(found[1]) == found[3]) == (found[2] != "!=")
    return (term.lstrip("!") in labels) != term.startswith("!")
