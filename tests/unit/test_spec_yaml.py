"""Strict YAML: one meaning, bounded, and a line for every value."""

import pytest

from serving.errors import InvalidInput
from serving.strict_yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse


def read(text: str) -> object:
    return parse(f"value: {text}\n".encode(), name="x.yaml").data["value"]


def refusal(content: str | bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse(content if isinstance(content, bytes) else content.encode(), name="x.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.0e+3", 1000.0),
        ("-2.5E-3", -0.0025),
        ("plain words", "plain words"),
        ('"012"', "012"),
        ("'yes'", "yes"),
        ('"22:00"', "22:00"),
        ("22:00:xx", "22:00:xx"),
        ("shop:Model", "shop:Model"),
        ("v1.2.3", "v1.2.3"),
        ("y", "y"),
        ("|\n  two\n  lines", "two\nlines\n"),
        ("[1, a, {b: 2}]", [1, "a", {"b": 2}]),
        ("{}", {}),
    ],
)
def test_values_mean_what_every_reader_takes_them_for(text: str, value: object) -> None:
    """A value that YAML 1.1 and 1.2 read alike is taken, with its type."""
    found = read(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("yes", 'true, false or "yes"'),
        ("NO", 'true, false or "NO"'),
        ("off", '"off"'),
        ("012", "without the zeros"),
        ("00", "without the zeros"),
        ("0x1F", "a decimal number"),
        ("0o17", "a decimal number"),
        ("0b11", "a decimal number"),
        ("1_000", "without _"),
        ("1e3", "in full"),
        ("1.5e3", "in full"),
        ("12:30", '"12:30"'),
        ("1:30:00.5", '"1:30:00.5"'),
        ("2026-01-31", '"2026-01-31"'),
        ("2026-01-31 12:00:00", '"2026-01-31 12:00:00"'),
        ("-.5", "a 0 before the point"),
        ("+.5e+3", "in full"),
        ("<<", '"<<"'),
        ("=", '"="'),
        (".inf", "a finite number"),
        ("-.INF", "a finite number"),
        (".nan", "a finite number"),
    ],
)
def test_values_with_two_meanings_are_refused_with_the_way_to_write_them(text: str, advice: str) -> None:
    """What YAML 1.1 and 1.2 read differently is refused, on its line, with the unambiguous form."""
    problem = refusal(f"# a comment\nouter:\n  value: {text}\n")
    assert problem.where == "x.yaml:3 outer.value"
    assert "ambiguous" in problem.why
    assert advice in problem.next_step


@pytest.mark.parametrize(
    ("content", "where", "why"),
    [
        ("", "x.yaml:1", "empty"),
        ("# only a comment\n", "x.yaml:1", "empty"),
        ("---\n...\n", "x.yaml:2", "empty"),
        ("just text\n", "x.yaml:1", "not a mapping"),
        ("- a\n- b\n", "x.yaml:1", "not a mapping"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2", "several documents"),
        ("a: 1\nb:\n  c: 2\n  c: 3\n", "x.yaml:4 b.c", "twice, first on line 3"),
        ("a: {b: 1, b: 2}\n", "x.yaml:1 a.b", "twice"),
        ("a: &x 1\nb: 2\n", "x.yaml:1 a", "anchors"),
        ("a: 1\nb: *x\n", "x.yaml:2 b", "anchors"),
        ("a: 1\n<<: {b: 1}\n", "x.yaml:2 <<", "merge keys"),
        ("a: !!python/object/apply:os.system [ls]\n", "x.yaml:1 a", "tags"),
        ("a: !!str 5\n", "x.yaml:1 a", "tags"),
        ("a: ! 5\n", "x.yaml:1 a", "tags"),
        ("? [a, b]\n: 1\n", "x.yaml:1", "not a plain word"),
        ("a: 1\nb: [1, 2\nc: 3\n", "x.yaml:2", "flow sequence"),
        ('a: 1\nb: "open\nc: 3\n', "x.yaml:2", "quoted scalar"),
        ("a: 1\n  b: 2\n", "x.yaml:2", "mapping values are not allowed"),
        ("a:\n\t- b\n", "x.yaml:2", "\\t"),
        ('a: "\\e[31m"\n', "x.yaml:1 a", "control character"),
        ('a: "\\ud800"\n', "x.yaml:1 a", "control character"),
        ('a: "\\UFFFFFFFF"\n', "x.yaml:1", ""),
        ("a: " + "9" * 5000, "x.yaml:1 a", "longer than"),
        ("a: 1.0e+999\n", "x.yaml:1 a", "too large"),
        ("%YAML 9.9\n---\na: 1\n", "x.yaml:1", "incompatible"),
        (b"a: 1\nb: \xff\n", "x.yaml:2", "not UTF-8"),
        (b"a: 1\nb: \x00\n", "x.yaml:1", "not allowed"),
    ],
)
def test_files_that_are_not_one_plain_mapping_are_refused(content: str | bytes, where: str, why: str) -> None:
    """Whatever is wrong with the text, one error names the line and the reason."""
    problem = refusal(content)
    assert problem.where == where
    assert why in problem.why
    assert problem.next_step


def test_file_larger_than_the_bound_is_refused_unread() -> None:
    """A file of more than 1 MiB is refused for its size, whatever it holds."""
    assert "larger than" in refusal(b"a" * (MAX_BYTES + 1)).why


@pytest.mark.parametrize("opener", ["[", "{a: "])
def test_nesting_is_bounded(opener: str) -> None:
    """Nesting beyond the bound is refused without recursion, however deep it goes."""
    assert "nested deeper" in refusal("a: " + opener * 100_000).why
    closer = "]" if opener == "[" else "}"
    depth = MAX_DEPTH - 1
    assert read(opener * depth + "1" + closer * depth)


def test_number_of_values_is_bounded() -> None:
    """A file with more values than the bound is refused."""
    assert "more than" in refusal("a: [" + "1," * MAX_VALUES + "]").why


def test_byte_order_mark_is_accepted() -> None:
    """A UTF-8 file may begin with the mark that some editors write."""
    assert parse(b"\xef\xbb\xbfa: 1\n", name="x.yaml").data == {"a": 1}


def test_keys_are_text() -> None:
    """A key is the text that stands there, so `no` or `1` never turn into something else."""
    assert parse(b"no: 1\n1: 2\nnull: 3\n", name="x.yaml").data == {"no": 1, "1": 2, "null": 3}


def test_lines_of_values() -> None:
    """Each value is known by its line; a missing one by the nearest around it."""
    source = parse(b"a: 1\nb:\n  - c: 2\n  - c: 3\n", name="x.yaml")
    assert source.where(("b", 1, "c")) == "x.yaml:4 b.1.c"
    assert source.where(("b", 1, "missing")) == "x.yaml:4 b.1.missing"
    assert source.where(("missing",)) == "x.yaml:1 missing"
