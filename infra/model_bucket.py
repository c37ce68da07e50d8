"""The bucket of model versions, and its key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.policies import deny_plain_http, document

FORMER_VERSIONS_KEPT_DAYS = 90
"""An object that was overwritten or deleted can be brought back for so long."""


@dataclass(frozen=True)
class ModelBucketArgs:
    """What a bucket is made from."""

    account_id: str
    region: str
    tags: Mapping[str, str]


class ModelBucket(pulumi.ComponentResource):
    """Encrypted with a key of the stack, private, versioned, TLS only; Pulumi refuses to delete bucket and key."""

    bucket: aws.s3.Bucket
    key: aws.kms.Key

    def __init__(self, name: str, args: ModelBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:ModelBucket", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        data = pulumi.ResourceOptions(parent=self, protect=True)
        tags = {**args.tags, "Name": name}
        self.key = aws.kms.Key(
            name,
            description=f"Model versions of {name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            tags=tags,
            opts=data,
        )
        # Names of buckets are shared by all accounts of AWS.
        self.bucket = aws.s3.Bucket(
            name, bucket=f"{name}-{args.account_id}-{args.region}", force_destroy=False, tags=tags, opts=data
        )
        bucket = self.bucket.id
        aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=inside,
        )
        aws.s3.BucketOwnershipControls(
            name,
            bucket=bucket,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=inside,
        )
        versioning = aws.s3.BucketVersioning(
            name,
            bucket=bucket,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=inside,
        )
        encrypted = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="aws:kms", kms_master_key_id=self.key.arn
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=encrypted, bucket_key_enabled=True
                )
            ],
            opts=inside,
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="bounded",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    abort_incomplete_multipart_upload=(
                        aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                            days_after_initiation=7
                        )
                    ),
                    noncurrent_version_expiration=(
                        aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                            noncurrent_days=FORMER_VERSIONS_KEPT_DAYS
                        )
                    ),
                )
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        aws.s3.BucketPolicy(
            name,
            bucket=bucket,
            policy=self.bucket.arn.apply(lambda arn: json.dumps(document(deny_plain_http("s3", [arn, f"{arn}/*"])))),
            opts=inside,
        )
        self.register_outputs({"bucket": bucket})
