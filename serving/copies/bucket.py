"""Versions in object storage that speaks S3's language. boto3 is imported at the first call.

A version is the objects `<prefix>/<id>/<file>`, each with its SHA-256 beside it, and `manifest.json`, which is written
last: where it is, the version is whole. What is read is checked by whoever reads it; nobody trusts the storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from serving.artefact import verify_version
from serving.errors import CorruptArtefact, HcctlError
from serving.files import disk_errors, open_plain
from serving.manifest import MANIFEST_FILE, MANIFEST_LIMIT_BYTES, Manifest
from serving.spec_artefacts import Bucket

PART_BYTES = 16 << 20
"""What is larger goes and comes in parts of this size, several at once."""
_AT_ONCE = 8
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S, _TRIES = 5.0, 60.0, 5
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_DENIED = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})


class _NotThere(HcctlError):
    """There is no such object."""


class BucketCopy:
    """The versions in a bucket.

    Args:
        bucket: as hcctl.yaml declares it.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @property
    def where(self) -> str:
        return f"s3://{self._bucket.name}/{self._bucket.prefix}"

    def put(self, folder: Path) -> bool:
        manifest = verify_version(folder)
        version, written = manifest.version, False
        for file in manifest.files:
            head = self._head(version, file.name)
            if head is None or not self._is_sound(head, file.sha256) or head["ContentLength"] != file.size_bytes:
                self._upload(folder / file.name, version, file.sha256)
                written = True
        # Metrics and who pushed are no part of a version: a manifest that was there first stays.
        there = self._manifest(version)
        head = None if there is None else self._head(version, MANIFEST_FILE)
        if there is None or head is None or not self._is_sound(head, there.checksum):
            self._upload(folder / MANIFEST_FILE, version, manifest.checksum)
            written = True
        return written

    def fetch(self, version: str, folder: Path) -> None:
        """Bring the version with this full id into the empty `folder`; its hashes are for the caller to check.

        Raises:
            CorruptArtefact: an object has another size than its manifest says.
            HcctlError: the version is not there, or cannot be read.
        """
        manifest = self._manifest(version)
        if manifest is None:
            raise HcctlError(
                f"the bucket does not have version {version[:12]}",
                where=self.where,
                why=f"it holds no sound {MANIFEST_FILE} of it",
                next_step=f"run `hcctl version replicate {version[:12]}` where the version was pushed",
            )
        with disk_errors("the version was not fetched", folder):
            (folder / MANIFEST_FILE).write_bytes(manifest.to_json())
            for file in manifest.files:
                head = self._head(version, file.name)
                if head is None or head["ContentLength"] != file.size_bytes:
                    raise self._damaged(version, file.name)
                key = self._key(version, file.name)
                with (folder / file.name).open("xb") as target, self._asking("get", key):
                    self._s3.download_fileobj(self._bucket.name, key, target, Config=_transfers())

    def _is_sound(self, head: dict[str, Any], sha256: str) -> bool:
        """Whether an object was written as hcctl does it, with this hash."""
        return head.get("Metadata", {}).get("sha256") == sha256 and self._is_encrypted(head)

    def _is_encrypted(self, head: dict[str, Any]) -> bool:
        return not self._bucket.encrypted or bool(head.get("ServerSideEncryption"))

    def _upload(self, path: Path, version: str, sha256: str) -> None:
        """Write an object, in parts whose hashes the storage checks.

        It gets no access list: only the bucket's own rules say who may read it.
        """
        extra: dict[str, Any] = {"Metadata": {"sha256": sha256}, "ChecksumAlgorithm": "SHA256"}
        if self._bucket.kms_key is not None:
            extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._bucket.kms_key}
        with disk_errors("the version cannot be read", path):
            file = open_plain(path)
        if file is None:
            raise CorruptArtefact(f"version {version[:12]} is damaged", where=path.name, why="it is no plain file")
        key = self._key(version, path.name)
        with file, self._asking("put", key):
            self._s3.upload_fileobj(file, self._bucket.name, key, ExtraArgs=extra, Config=_transfers())
        head = self._head(version, path.name)
        if head is None or head.get("Metadata", {}).get("sha256") != sha256:
            raise self._damaged(version, path.name)
        if not self._is_encrypted(head):
            raise HcctlError(
                "the bucket does not encrypt",
                where=self.where,
                why=f"{path.name} was stored in the clear",
                next_step="give the bucket a default encryption, or name a kms_key, and run it again",
            )

    def _manifest(self, version: str) -> Manifest | None:
        """The manifest of a version; None if there is none, or a damaged one."""
        key = self._key(version, MANIFEST_FILE)
        with suppress(_NotThere, ValueError), self._asking("get", key):
            answer = self._s3.get_object(Bucket=self._bucket.name, Key=key)
            found = Manifest.from_json(answer["Body"].read(MANIFEST_LIMIT_BYTES + 1))
            return found if found.version == version else None
        return None

    def _head(self, version: str, name: str) -> dict[str, Any] | None:
        """What the storage says of an object; None if there is none."""
        key = self._key(version, name)
        with suppress(_NotThere), self._asking("get", key):
            found: dict[str, Any] = self._s3.head_object(Bucket=self._bucket.name, Key=key)
            return found
        return None

    def _key(self, version: str, name: str) -> str:
        return f"{self._bucket.prefix}/{version}/{name}"

    def _damaged(self, version: str, name: str) -> CorruptArtefact:
        return CorruptArtefact(
            f"version {version[:12]} is damaged in the bucket",
            where=f"s3://{self._bucket.name}/{self._key(version, name)}",
            why="it is missing, or not what was pushed",
            next_step=f"run `hcctl version replicate {version[:12]}` where the version was pushed",
        )

    @contextmanager
    def _asking(self, verb: str, key: str) -> Iterator[None]:
        """Turn errors of the storage into ours; `verb` is get or put."""
        try:
            from botocore.exceptions import BotoCoreError, ClientError
            from s3transfer.exceptions import RetriesExceededError
        except ImportError:
            raise HcctlError(
                "the bucket cannot be reached without boto3",
                where=self.where,
                why="it is not installed",
                next_step="pip install 'hcctl[aws]'",
            ) from None
        what, where = (
            f"the bucket cannot be {'read' if verb == 'get' else 'written'}",
            f"s3://{self._bucket.name}/{key}",
        )
        try:
            yield
        except ClientError as error:
            said = error.response.get("Error", {})
            code, why = str(said.get("Code", "")), f"{said.get('Code')}: {said.get('Message', '')}"[:300]
            if code == "NoSuchBucket":
                step = "make the bucket, or correct artefacts.bucket.name in hcctl.yaml"
                raise HcctlError("there is no such bucket", where=self.where, why=why, next_step=step) from None
            if code in _ABSENT:
                raise _NotThere(what, where=where, why=why) from None
            right = (
                "s3:ListBucket and s3:GetObject" if verb == "get" else "s3:PutObject, and the use of the bucket's key"
            )
            step = f"give the account {right}, or other credentials" if code in _DENIED else ""
            raise HcctlError(what, where=where, why=why, next_step=step) from None
        except (BotoCoreError, RetriesExceededError) as error:
            cause = getattr(error, "last_exception", error)  # of the last try
            why = f"{type(cause).__name__}: {cause}"[:300]
            step = "see docs/guides/kubernetes-site.md#versions-in-a-bucket for where credentials come from"
            raise HcctlError(what, where=where, why=why, next_step=step) from None

    @cached_property
    def _s3(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
        )
        session = boto3.session.Session(region_name=self._bucket.region)
        return session.client("s3", endpoint_url=self._bucket.endpoint, config=config)


def _transfers() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=_AT_ONCE)
