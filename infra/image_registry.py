"""The repositories of container images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

UNTAGGED_KEPT_DAYS = 14
_LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "what no tag names any more",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": UNTAGGED_KEPT_DAYS,
            },
            "action": {"type": "expire"},
        }
    ]
}


@dataclass(frozen=True)
class ImageRegistryArgs:
    """What the registry is made from."""

    repositories: Sequence[str]
    key_arn: pulumi.Input[str]
    tags: Mapping[str, str]


class ImageRegistry(pulumi.ComponentResource):
    """Private, encrypted, scanned at push; a tag once pushed never means another image."""

    urls: dict[str, pulumi.Output[str]]
    """Where each repository is pushed to and pulled from, by name."""

    def __init__(self, name: str, args: ImageRegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:ImageRegistry", name, None, opts)
        self.urls = {}
        for repository in args.repositories:
            label = f"{name}-{repository.replace('/', '-')}"
            made = aws.ecr.Repository(
                label,
                name=f"{name}/{repository}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
                encryption_configurations=[
                    aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=args.key_arn)
                ],
                force_delete=False,
                tags={**args.tags, "Name": f"{name}/{repository}"},
                opts=pulumi.ResourceOptions(parent=self, protect=True),
            )
            aws.ecr.LifecyclePolicy(
                label,
                repository=made.name,
                policy=json.dumps(_LIFECYCLE),
                opts=pulumi.ResourceOptions(parent=self),
            )
            self.urls[repository] = made.repository_url
        self.register_outputs({})
