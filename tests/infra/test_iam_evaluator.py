"""The evaluator of policies answers as AWS's documented rules do."""

import pytest

from tests.support.iam_policy import allowed, matches


def document(**statement: object) -> dict[str, object]:
    return {"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **statement}]}


def test_deny_wins_and_silence_is_no() -> None:
    """What nobody allows is refused, and one denial outweighs every allowance."""
    both = {"Statement": [*document()["Statement"], *document(Effect="Deny", Resource="b/*")["Statement"]]}
    assert allowed(both, "s3:GetObject", "a/x")
    assert not allowed(both, "s3:GetObject", "b/x")
    assert not allowed(both, "s3:PutObject", "a/x")


def test_conditions_need_their_key() -> None:
    """A condition on a key that the request does not carry does not hold; one of several values is enough."""
    tagged = document(Condition={"StringEquals": {"tag": ["a", "b"]}})
    assert allowed(tagged, "s3:GetObject", "x", {"tag": "b"})
    assert not allowed(tagged, "s3:GetObject", "x", {"tag": "c"})
    assert not allowed(tagged, "s3:GetObject", "x")


def test_wildcards_stand_for_text_and_nothing_else_does() -> None:
    """A star matches any text and a question mark one character; dots and brackets mean themselves."""
    assert matches("eks:*Node?roup", "eks:UpdateNodegroup")
    assert not matches("a.c", "abc")
    assert not matches("x[1]", "x1")


def test_what_it_does_not_know_is_an_error() -> None:
    """An operator or field outside its part of the language is refused, never guessed."""
    with pytest.raises(NotImplementedError, match="DateGreaterThan"):
        allowed(document(Condition={"DateGreaterThan": {"a": "b"}}), "s3:GetObject", "x")
    with pytest.raises(NotImplementedError, match="NotAction"):
        allowed(document(NotAction="s3:*"), "s3:GetObject", "x")
