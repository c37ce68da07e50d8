"""The part of hcctl.yaml that says where a site's pods find the versions: on a volume, or in object storage."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from serving.declared import KubernetesName, Model
from serving.spec_capacity import RegionName

MountFolder = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}){1,8}$")]
BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
KeyPrefix = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}){0,7}$")
]
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
StorageUrl = Annotated[
    str,
    StringConstraints(
        max_length=253,
        pattern=rf"^(https://{_LABEL}(\.{_LABEL})*(:\d{{1,5}})?|http://(127\.0\.0\.1|localhost)(:\d{{1,5}})?)$",
    ),
]
KmsKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:/_-]{1,500}$")]


class Bucket(Model):
    """A bucket of S3, or of storage that speaks like it. Each version is a folder of objects under the prefix."""

    name: BucketName = Field(description="It must exist, private; hcctl makes none.")
    prefix: KeyPrefix = Field(default="versions", description="Folder in the bucket, for this project's versions.")
    region: RegionName | None = Field(default=None, description="Unset: that of the AWS configuration.")
    endpoint: StorageUrl | None = Field(
        default=None, description="Of storage other than AWS's: https, or http on this computer."
    )
    kms_key: KmsKey | None = Field(
        default=None, description="Id or ARN of the key that encrypts; unset: as the bucket's own rule says."
    )
    encrypted: bool = Field(
        default=True,
        description="Refuse storage that does not say that it encrypts. false: it does so below what it says.",
    )
    credentials_secret: KubernetesName | None = Field(
        default=None,
        description="Secret of the site's namespace whose AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY the pods use. "
        "Unset: the role of their service account.",
    )


class Artefacts(Model):
    """Where pods find the versions: one of `claim` and `bucket`."""

    claim: KubernetesName | None = Field(
        default=None,
        description="PersistentVolumeClaim in the site's namespace that holds one folder for each version, as in "
        "`.hcctl/registry`. Mounted read-only in all pods.",
    )
    folder: str | None = Field(
        default=None,
        min_length=1,
        max_length=4_096,
        description="Where this computer has the same volume mounted, from the project's folder: what is pushed is "
        "copied there. Unset: you copy it.",
    )
    bucket: Bucket | None = Field(
        default=None, description="What is pushed is copied there; pods fetch from it what they load."
    )
    cache_gib: float = Field(
        default=50.0,
        gt=0,
        le=65_536,
        description="With a bucket: room on its node for what a pod fetches. It keeps the last four versions.",
    )
    mount: MountFolder = Field(default="/var/lib/hcctl/versions", description="Where the pods find them.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.claim is None) == (self.bucket is None):
            found = "neither a claim nor a bucket" if self.claim is None else "both a claim and a bucket"
            raise ValueError(f"artefacts have {found}; give one of them")
        if self.folder is not None and self.claim is None:
            raise ValueError("folder is where this computer has the claim's volume; leave it out with a bucket")
        return self
