"""The contract of `serving.copies.port.Copy`, passed by the bucket on moto and by a folder; and what is their own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from infra import policies
from serving.artefact import verify_version
from serving.copies import bucket as bucket_module
from serving.copies import folder as folder_module
from serving.copies.bucket import BucketCopy
from serving.copies.folder import FolderCopy
from serving.copies.port import Copy
from serving.errors import CorruptArtefact, HcctlError
from serving.manifest import MANIFEST_FILE
from serving.registry import Registry
from serving.spec_artefacts import Bucket
from tests.support.artefacts import make_artefact, push, tensor_bytes
from tests.support.iam_policy import allowed
from tests.support.model_bucket import NAME, ModelBucket


@dataclasses.dataclass
class Rig:
    """A copy, what it holds as a folder, and ways to break it."""

    copy: Copy
    read: Callable[[str], Path]
    spoil: Callable[[str, str], None]
    remove: Callable[[str, str], None]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A registry's version."""
    registry = Registry(tmp_path / "registry")
    return registry.directory(push(registry, make_artefact(tmp_path / "made")).version)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield


@pytest.fixture
def held(aws: None) -> ModelBucket:
    return ModelBucket()


@pytest.fixture(params=["bucket", "folder"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    if request.param == "folder":
        root = tmp_path / "volume"
        root.mkdir()

        def spoil(version: str, name: str) -> None:
            (root / version / name).unlink()
            (root / version / name).write_bytes(b"spoilt")

        return Rig(FolderCopy(root), root.__truediv__, spoil, lambda version, name: (root / version / name).unlink())
    held: ModelBucket = request.getfixturevalue("held")
    copy = BucketCopy(held.spec)

    def read(version: str) -> Path:
        folder = tmp_path / "read" / version
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy.fetch(version, folder)
        return folder

    return Rig(
        copy,
        read,
        lambda version, name: held.overwrite(f"versions/{version}/{name}", b"spoilt"),
        lambda version, name: held.s3.delete_object(Bucket=NAME, Key=f"versions/{version}/{name}"),
    )


def test_a_version_is_copied_once(rig: Rig, version: Path) -> None:
    """What is read from the copy has every hash of the manifest; a second put writes nothing."""
    assert rig.copy.put(version)
    assert verify_version(rig.read(version.name)).version == version.name
    assert not rig.copy.put(version)


@pytest.mark.parametrize("name", ["model.safetensors", "items.json", MANIFEST_FILE])
def test_damage_is_mended(rig: Rig, version: Path, name: str) -> None:
    """A file that somebody changed or removed is written again by the next put."""
    rig.copy.put(version)
    rig.spoil(version.name, name)
    assert rig.copy.put(version)
    verify_version(rig.read(version.name))
    rig.remove(version.name, name)
    assert rig.copy.put(version)
    verify_version(rig.read(version.name))


def test_a_damaged_version_is_not_copied(rig: Rig, version: Path) -> None:
    """What is wrong in the registry does not leave it."""
    (version / "items.json").chmod(0o600)
    (version / "items.json").write_bytes(b"[]")
    with pytest.raises(CorruptArtefact):
        rig.copy.put(version)


def test_metrics_of_the_first_push_stay(rig: Rig, tmp_path: Path, version: Path) -> None:
    """The same content pushed elsewhere, with another score, is the same version: the copy keeps its manifest."""
    rig.copy.put(version)
    other = Registry(tmp_path / "other")
    again = push(other, make_artefact(tmp_path / "again"), metrics={"recall_at_10": 0.5}, at_s=2_000.0)
    assert not rig.copy.put(other.directory(again.version))
    assert verify_version(rig.read(version.name)).metrics == {"recall_at_10": 0.25}


def test_large_files_go_in_parts(held: ModelBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file above the size of a part is uploaded and read in several, and is the same."""
    monkeypatch.setattr(bucket_module, "PART_BYTES", 5 << 20)
    registry = Registry(tmp_path / "registry")
    large = tensor_bytes(os.urandom(1 << 10) * (11 << 10))
    version = push(registry, make_artefact(tmp_path / "made", model__safetensors=large)).version
    copy = BucketCopy(held.spec)
    copy.put(registry.directory(version))
    head = held.s3.head_object(Bucket=NAME, Key=f"versions/{version}/model.safetensors", PartNumber=1)
    assert head["PartsCount"] == 3
    folder = tmp_path / version
    folder.mkdir()
    copy.fetch(version, folder)
    verify_version(folder)


def test_objects_are_encrypted_and_for_nobody_else(held: ModelBucket, version: Path) -> None:
    """Encrypted by the bucket's rule, or by the key that is named; nobody but the owner is in the access list."""
    BucketCopy(held.spec).put(version)
    BucketCopy(held.spec.model_copy(update={"kms_key": "alias/models", "prefix": "other"})).put(version)
    assert len(held.objects()) == 6
    for key in held.objects():
        head = held.s3.head_object(Bucket=NAME, Key=key)
        assert head["ServerSideEncryption"] == "aws:kms"
        assert (head.get("SSEKMSKeyId") == "alias/models") == key.startswith("other/")
        grants = held.s3.get_object_acl(Bucket=NAME, Key=key)["Grants"]
        assert [grant["Grantee"]["Type"] for grant in grants] == ["CanonicalUser"]


def test_storage_in_the_clear_is_refused(aws: None, version: Path) -> None:
    """Without encryption the put fails and says what to do; mended, it writes anew. It can be allowed."""
    held = ModelBucket(encrypted=False)
    with pytest.raises(HcctlError, match="does not encrypt"):
        BucketCopy(held.spec).put(version)
    held.encrypt()
    assert BucketCopy(held.spec).put(version)
    assert all("ServerSideEncryption" in held.s3.head_object(Bucket=NAME, Key=key) for key in held.objects())
    plain = held.spec.model_copy(update={"encrypted": False, "prefix": "plain"})
    held.s3.delete_bucket_encryption(Bucket=NAME)
    assert BucketCopy(plain).put(version)


def test_the_manifest_is_written_last(held: ModelBucket, version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put that is broken off leaves no version to read; the next one writes only what is missing."""
    copy, uploaded = BucketCopy(held.spec), []
    upload = BucketCopy._upload

    def some(self: BucketCopy, path: Path, *rest: Any) -> None:
        if len(uploaded) == 1:
            raise KeyboardInterrupt
        uploaded.append(path.name)
        upload(self, path, *rest)

    monkeypatch.setattr(BucketCopy, "_upload", some)
    with pytest.raises(KeyboardInterrupt):
        copy.put(version)
    with pytest.raises(HcctlError, match="does not have version"):
        copy.fetch(version.name, version.parent)
    monkeypatch.setattr(
        BucketCopy, "_upload", lambda self, path, *rest: (uploaded.append(path.name), upload(self, path, *rest))
    )
    copy.put(version)
    assert uploaded == ["items.json", "model.safetensors", MANIFEST_FILE]


def test_what_is_wrong_with_a_bucket_is_said(held: ModelBucket, version: Path, tmp_path: Path) -> None:
    """No such bucket, and no such version, each with its next step."""
    gone = BucketCopy(Bucket(name="hcctl-none", region="us-east-1"))
    with pytest.raises(HcctlError, match=r"no such bucket: s3://hcctl-none/versions.*artefacts.bucket.name"):
        gone.put(version)
    with pytest.raises(HcctlError, match="no such bucket"):
        gone.fetch(version.name, tmp_path)
    with pytest.raises(HcctlError, match=f"hcctl version replicate {version.name[:12]}"):
        BucketCopy(held.spec).fetch(version.name, tmp_path)


ACTIONS = {
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
}
"""The right that each operation needs, by AWS's reference of S3's actions."""


def test_the_roles_of_the_stack_are_enough(held: ModelBucket, version: Path, tmp_path: Path) -> None:
    """All that is asked of the bucket is allowed by the policies that the stack gives to daemon and replicas."""
    bucket, key = f"arn:aws:s3:::{NAME}", "arn:aws:kms:us-east-1:123456789012:key/1"
    read = policies.read_models(bucket, key)
    copy, asked = BucketCopy(held.spec), set[str]()
    copy._s3.meta.events.register("before-call.s3", lambda model, **_: asked.add(ACTIONS[model.name]))
    copy.put(version)
    assert asked == {"s3:GetObject", "s3:PutObject"}
    writer = policies.document(*read, *policies.write_models(bucket, key))
    assert all(allowed(writer, action, f"{bucket}/versions/x") for action in asked)
    asked.clear()
    (tmp_path / version.name).mkdir()
    copy.fetch(version.name, tmp_path / version.name)
    assert asked == {"s3:GetObject"}
    assert allowed(policies.document(*read), "s3:GetObject", f"{bucket}/versions/x")


@pytest.mark.parametrize(
    ("operation", "call", "right"),
    [
        pytest.param("HeadObject", "put", "s3:GetObject", id="look"),
        pytest.param("PutObject", "put", "s3:PutObject", id="write"),
        pytest.param("GetObject", "fetch", "s3:GetObject", id="read"),
    ],
)
def test_a_missing_right_is_named(held: ModelBucket, version: Path, operation: str, call: str, right: str) -> None:
    """Who is denied is told which right is missing."""
    copy = BucketCopy(held.spec)

    def denied(**_: Any) -> Any:
        from botocore.exceptions import ClientError

        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)

    copy._s3.meta.events.register(f"before-call.s3.{operation}", denied)
    with pytest.raises(HcctlError) as caught:
        copy.put(version) if call == "put" else copy.fetch(version.name, version.parent)
    assert right in caught.value.next_step
    assert "AccessDenied" in caught.value.why


def test_storage_out_of_reach_is_one_error(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer, and without credentials, there is one error in words."""
    monkeypatch.setattr(bucket_module, "_TRIES", 1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(HcctlError, match="the bucket cannot be read"):
        BucketCopy(Bucket(name="abc", region="us-east-1", endpoint="http://127.0.0.1:9")).put(version)


def test_a_connection_that_breaks_again_and_again_is_one_error(
    held: ModelBucket, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose bytes end early however often it is asked for is told as the storage's fault."""
    from s3transfer.exceptions import RetriesExceededError

    copy = BucketCopy(held.spec)
    copy.put(version)

    def broken(*_: Any, **__: Any) -> None:
        raise RetriesExceededError(ConnectionResetError("reset by peer"))

    monkeypatch.setattr(copy._s3, "download_fileobj", broken)
    with pytest.raises(HcctlError, match=r"the bucket cannot be read: .*reset by peer"):
        copy.fetch(version.name, tmp_path)


@pytest.mark.parametrize("missing", ["botocore.exceptions", "s3transfer.exceptions"])
def test_without_the_library_it_says_what_to_install(
    version: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """boto3 is an extra, and brings both: who has no bucket needs none of it."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(HcctlError) as caught:
        BucketCopy(Bucket(name="abc", region="us-east-1")).put(version)
    assert caught.value.next_step == "pip install 'hcctl[aws]'"


def test_a_file_of_another_size_is_not_fetched(held: ModelBucket, version: Path, tmp_path: Path) -> None:
    """What is larger than the manifest says does not fill the disk first."""
    copy = BucketCopy(held.spec)
    copy.put(version)
    held.overwrite(f"versions/{version.name}/items.json", b"x" * 100_000)
    with pytest.raises(CorruptArtefact, match=r"items\.json"):
        copy.fetch(version.name, tmp_path)


def test_a_volume_that_is_not_mounted_is_not_filled(version: Path, tmp_path: Path) -> None:
    """A folder that is not there is an error, not made: the next mount would hide what was written."""
    with pytest.raises(HcctlError, match="mount the volume"):
        FolderCopy(tmp_path / "volume").put(version)


def test_pods_may_read_the_volume(version: Path, tmp_path: Path) -> None:
    """Files are for everybody to read: pods run under another user id. Nothing else is left in the volume."""
    (tmp_path / "volume").mkdir()
    FolderCopy(tmp_path / "volume").put(version)
    (folder,) = (tmp_path / "volume").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o444}


def test_two_of_one_process_id_do_not_disturb_each_other(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process id may mean two computers: neither takes the other's draft, nor replaces what it has published."""
    root = tmp_path / "volume"
    root.mkdir()
    begun: list[Path] = []
    there: list[int] = []
    copying = folder_module._copy

    def held_up(source: Path, target: Path) -> None:
        begun.append(target.parent)
        if len(begun) == 1:
            FolderCopy(root).put(version)
            there.append((root / version.name).stat().st_ino)
        copying(source, target)

    monkeypatch.setattr(folder_module, "_copy", held_up)
    FolderCopy(root).put(version)
    assert len(set(begun)) == 2
    assert there == [(root / version.name).stat().st_ino]
    assert [found.name for found in root.iterdir()] == [version.name]


def _put(root: Path, version: Path) -> None:
    FolderCopy(root).put(version)


def test_two_that_copy_at_once_do_no_harm(version: Path, tmp_path: Path) -> None:
    """Both succeed, and the version is whole."""
    root = tmp_path / "volume"
    root.mkdir()
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_put, args=(root, version)) for _ in range(3)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0, 0]
    assert [found.name for found in root.iterdir()] == [version.name]
    verify_version(root / version.name)
