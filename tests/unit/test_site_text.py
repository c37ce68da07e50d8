"""A site put into the text of a project file: nothing else changes, and what cannot be done safely is not done."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.site_text import with_site
from serving import strict_yaml
from serving.errors import InvalidInput
from tests.support.declared import PROJECT

TEMPLATE = Path(__file__).parents[2] / "cli" / "templates" / "hcctl.yaml"
SITE = {"role": "cloud", "pools": [{"name": "g5", "kind": "on_demand", "max_nodes": 2, "price_usd_per_hour": 1.5}]}
SMALL = """kind: HybridProject
name: shop
sites:
    home:   # ours
        role: private
        pools: [{name: owned, kind: fixed, max_nodes: 1}]
"""


def added(text: str, *, notes: tuple[str, ...] = ()) -> str:
    """The file with the site `burst`."""
    return with_site(text.encode(), "burst", SITE, notes, file="hcctl.yaml").decode()


def lines_kept(before: str, after: str) -> bool:
    """Whether all lines of the one stand in the other, in their order."""
    rest = iter(after.splitlines())
    return all(any(line == other for other in rest) for line in before.splitlines())


def test_the_template_keeps_every_line() -> None:
    """Comments, blank lines and order stay; the site stands behind the last one, before the gateway's comment."""
    before = TEMPLATE.read_text().replace("${name}", "shop").replace("$$", "$")
    after = added(before, notes=("from a stack",))
    assert lines_kept(before, after)
    lines = after.splitlines()
    at = lines.index("  burst:")
    assert lines[at - 2 : at] == ["", "  # from a stack"]
    assert "# The one endpoint in front of all sites." in lines[at:]
    assert "  #         zones: [us-east-1a, us-east-1b] # default: any" in lines[:at]
    assert list(strict_yaml.parse(after.encode(), name="f").data["sites"]) == ["private", "cloud", "burst"]


def test_the_indentation_of_the_file_is_taken() -> None:
    """Four columns there are four columns here."""
    assert "\n\n    burst:\n      role: cloud\n" in added(SMALL)


@pytest.mark.parametrize("end", ["", "\n\n\n", "# the end\n", "\n# the end"])
def test_sites_at_the_end_of_the_file(end: str) -> None:
    """Without a last line end, behind blank lines, before a comment at the margin."""
    text = SMALL.rstrip("\n") + ("" if end == "" else "\n" + end)
    after = added(text)
    assert lines_kept(text, after)
    assert after.index("burst:") < after.index("# the end") if "#" in end else True


def test_line_ends_and_a_byte_order_mark_stay() -> None:
    """A file from another system stays one."""
    text = "\ufeff" + SMALL.replace("\n", "\r\n")
    after = added(text)
    assert after.startswith("\ufeffkind")
    assert after.count("\n") == after.count("\r\n")


def test_a_site_is_never_overwritten() -> None:
    """The error names the line of the one that is there."""
    with pytest.raises(InvalidInput, match=r"there is such a site: hcctl\.yaml:4 sites\.home"):
        with_site(SMALL.encode(), "home", SITE, (), file="hcctl.yaml")


HOME = "{home: {role: private, pools: [{name: o, kind: fixed, max_nodes: 1}]}}"


@pytest.mark.parametrize(
    "text",
    [
        f"{{kind: HybridProject, name: shop, sites: {HOME}}}",
        f"kind: HybridProject\nname: shop\nsites: {HOME}\n",
        SMALL + "...\n",
    ],
)
def test_a_file_in_another_form_is_not_guessed_at(text: str) -> None:
    """Braces and an end mark are refused, with the form to write."""
    with pytest.raises(InvalidInput, match="no site can be added to the file as it is written"):
        added(text)


def test_a_file_that_is_indented_as_a_whole() -> None:
    """Its site stands where the others do."""
    after = added("".join(f"  {line}\n" for line in SMALL.splitlines()))
    assert strict_yaml.parse(after.encode(), name="f").data["sites"].keys() == {"home", "burst"}


def test_what_would_not_be_valid_is_not_written() -> None:
    """A second private site, and a name that is none: the field is named, not a line that is not there yet."""
    for name, site, where in (("burst", SITE | {"role": "private"}, "sites.burst"), ("No", SITE, "sites.No")):
        with pytest.raises(InvalidInput, match="the project would not be valid with this site") as told:
            with_site(SMALL.encode(), name, site, (), file="hcctl.yaml")
        assert told.value.where.startswith(where)


TEXT = st.text(st.characters(codec="ascii", exclude_characters="\n\r\t", exclude_categories=["Cc"]), max_size=20)


@settings(max_examples=40)
@given(comment=TEXT, blank=st.integers(0, 3), indent=st.integers(1, 6), last=st.booleans(), margin=st.booleans())
def test_any_layout_keeps_its_lines(comment: str, blank: int, indent: int, last: bool, margin: bool) -> None:
    """Whatever stands around sites, each line stays and the data is the former with one site more."""
    pad = " " * indent
    sites = ["sites:", *(pad + line for line in yaml.safe_dump(PROJECT["sites"]).splitlines())]
    told = [("" if margin else pad) + "# " + comment, *[""] * blank]
    head = ["kind: HybridProject", "name: shop"]
    text = "\n".join([*sites, *told, *head] if last else [*head, *told, *sites, *told]) + "\n"
    after = added(text)
    assert lines_kept(text, after)
    data = strict_yaml.parse(after.encode(), name="f").data
    assert data == {**PROJECT, "sites": {**PROJECT["sites"], "burst": SITE}}
