"""API keys at rest: hashes only, for the owner only, safe with several writers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from serving.errors import HcctlError, InvalidInput
from serving.gateway import keys as keys_module
from serving.gateway.keys import ApiKey, KeyFile
from tests.support.processes import ended, start


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def test_a_new_key_is_known_by_its_hash_only(keys: KeyFile, tmp_path: Path) -> None:
    """The secret is returned once; the file has its SHA-256, its name and its time, with mode 0600."""
    secret = keys.create("laptop", at_s=12.5).get_secret_value()
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert keys.list() == (ApiKey(name="laptop", sha256=digest, created_at_s=12.5),)
    assert secret not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert len(secret) >= 40


def test_keys_are_listed_by_name_and_revoked(keys: KeyFile) -> None:
    """Secrets differ; a revoked key is gone and its name is free again."""
    assert keys.list() == ()
    secrets = {keys.create(name, at_s=1.0) for name in ("tablet", "laptop", "phone")}
    assert len(secrets) == 3
    keys.revoke("laptop")
    assert [key.name for key in keys.list()] == ["phone", "tablet"]
    keys.create("laptop", at_s=2.0)
    assert [key.name for key in keys.list()] == ["laptop", "phone", "tablet"]


def test_a_taken_or_unknown_name_is_refused(keys: KeyFile) -> None:
    """Names are unique, and only what exists can be revoked."""
    keys.create("laptop", at_s=1.0)
    with pytest.raises(InvalidInput, match="with this name"):
        keys.create("laptop", at_s=2.0)
    with pytest.raises(InvalidInput, match="none with this name"):
        keys.revoke("tablet")
    assert len(keys.list()) == 1


@pytest.mark.parametrize("name", ["", "Laptop", "a b", "-a", "a" * 41, "a\n", "../x"])
def test_a_malformed_name_is_refused(keys: KeyFile, name: str) -> None:
    """A name is a label, as everywhere."""
    with pytest.raises(InvalidInput, match="label"):
        keys.create(name, at_s=1.0)
    assert keys.list() == ()


def test_the_number_of_keys_is_bounded(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a key must be revoked first."""
    monkeypatch.setattr(keys_module, "MOST_KEYS", 2)
    keys.create("a", at_s=1.0)
    keys.create("b", at_s=1.0)
    with pytest.raises(InvalidInput, match="already"):
        keys.create("c", at_s=1.0)


def test_two_writers_lose_no_key(tmp_path: Path) -> None:
    """Processes that create keys at the same time take turns."""

    def create(prefix: str) -> None:
        for number in range(10):
            KeyFile(tmp_path / "keys.json").create(f"{prefix}{number}", at_s=1.0)

    assert [ended(child) for child in [start(lambda p=p: create(p)) for p in "abc"]] == [0, 0, 0]
    assert len(KeyFile(tmp_path / "keys.json").list()) == 30


@pytest.mark.parametrize("content", [b"", b"{}", b"[{}]", b'[{"name":"a"}]', b"null", b"\xff", b'["secret"]'])
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    """What is no list of keys is refused by the file's name; nothing of it is shown."""
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(HcctlError, match="damaged") as refusal:
        KeyFile(path).list()
    assert refusal.value.where == str(path)
    assert "secret" not in refusal.value.one_line()
