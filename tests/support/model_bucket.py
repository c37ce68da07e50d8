"""A bucket for versions, on moto, as hcctl's own Pulumi program makes it: encrypted and without access lists."""

from __future__ import annotations

from typing import Any

from serving.spec_artefacts import Bucket

NAME, REGION = "hcctl-versions", "us-east-1"
_ENCRYPTED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}


class ModelBucket:
    """The bucket, and what a test wants to know or to break of it. Use it within `mock_aws`."""

    def __init__(self, *, encrypted: bool = True) -> None:
        import boto3

        self.s3: Any = boto3.client("s3", region_name=REGION)
        self.s3.create_bucket(Bucket=NAME)
        if encrypted:
            self.encrypt()
        self.spec = Bucket(name=NAME, region=REGION)

    def encrypt(self) -> None:
        """Give it a default encryption."""
        self.s3.put_bucket_encryption(Bucket=NAME, ServerSideEncryptionConfiguration=_ENCRYPTED)

    def objects(self) -> list[str]:
        """Keys of all objects."""
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=NAME).get("Contents", [])]

    def overwrite(self, key: str, body: bytes) -> None:
        """Put other bytes in the place of an object, as somebody else would."""
        self.s3.put_object(Bucket=NAME, Key=key, Body=body)
