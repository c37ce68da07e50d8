"""AWS for Pulumi's mocks: each resource is really created in moto, and answers with the provider's shape.

A type is either created here, or named in `WITHOUT_MOTO` because moto does not know it; any other type is an error, so
nothing passes unseen. Must be used inside `moto.mock_aws`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import boto3

from tests.support.moto_network import Inputs, Made, MotoNetwork, tagged, tags

WITHOUT_MOTO = frozenset(
    {
        "aws:ec2/vpnConnectionRoute:VpnConnectionRoute",
        "aws:eks/addon:Addon",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    }
)
"""Not implemented by moto 5.2: such a resource is only declared."""


class MotoCloud:
    """Creators of one region, by Pulumi's type."""

    def __init__(self, region: str, account_id: str) -> None:
        self._at = f"{region}:{account_id}"
        self._account_id = account_id
        session = boto3.session.Session(
            aws_access_key_id="testing", aws_secret_access_key="testing", region_name=region
        )
        self.session = session
        self.ec2, self.eks, self.iam, self.s3 = (session.client(name) for name in ("ec2", "eks", "iam", "s3"))
        self._creators: dict[str, Callable[[str, Inputs], Made]] = MotoNetwork(self.ec2).creators() | {
            "ec2/launchTemplate:LaunchTemplate": self._launch_template,
            "eks/cluster:Cluster": self._cluster,
            "eks/nodeGroup:NodeGroup": self._node_group,
            "iam/role:Role": self._role,
            "iam/rolePolicyAttachment:RolePolicyAttachment": self._attach,
            "iam/rolePolicy:RolePolicy": self._role_policy,
            "iam/openIdConnectProvider:OpenIdConnectProvider": self._oidc,
            "kms/key:Key": self._key,
            "s3/bucket:Bucket": self._bucket,
            "s3/bucketPublicAccessBlock:BucketPublicAccessBlock": self._public_access,
            "s3/bucketOwnershipControls:BucketOwnershipControls": self._ownership,
            "s3/bucketVersioning:BucketVersioning": self._versioning,
            "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": self._encryption,
            "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": self._lifecycle,
            "s3/bucketPolicy:BucketPolicy": self._bucket_policy,
            "ecr/repository:Repository": self._repository,
            "ecr/lifecyclePolicy:LifecyclePolicy": self._repository_lifecycle,
            "sqs/queue:Queue": self._queue,
            "sqs/queuePolicy:QueuePolicy": self._queue_policy,
            "cloudwatch/eventRule:EventRule": self._event_rule,
            "cloudwatch/eventTarget:EventTarget": self._event_target,
            "cloudwatch/logGroup:LogGroup": self._log_group,
            "budgets/budget:Budget": self._budget,
        }

    def create(self, type_: str, name: str, inputs: Inputs) -> Made:
        """Create the resource.

        Raises:
            KeyError: nobody has said how such a type is created.
        """
        if type_ in WITHOUT_MOTO:
            return f"{name}-id", {}
        return self._creators[type_.removeprefix("aws:")](name, inputs)

    # -- machines

    def _launch_template(self, name: str, inputs: Inputs) -> Made:
        metadata, (disk,) = inputs["metadataOptions"], inputs["blockDeviceMappings"]
        ebs = disk["ebs"]
        data = {
            "MetadataOptions": {
                "HttpEndpoint": metadata["httpEndpoint"],
                "HttpTokens": metadata["httpTokens"],
                "HttpPutResponseHopLimit": int(metadata["httpPutResponseHopLimit"]),
            },
            "BlockDeviceMappings": [
                {
                    "DeviceName": disk["deviceName"],
                    "Ebs": {
                        "Encrypted": ebs["encrypted"] == "true",
                        "VolumeSize": int(ebs["volumeSize"]),
                        "VolumeType": ebs["volumeType"],
                    },
                }
            ],
            "TagSpecifications": [
                {"ResourceType": spec["resourceType"], "Tags": tags(spec)} for spec in inputs["tagSpecifications"]
            ],
        }
        made = self.ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData=data,
            TagSpecifications=tagged("launch-template", inputs),
        )
        return made["LaunchTemplate"]["LaunchTemplateId"], {"name": name, "latestVersion": 1}

    def _cluster(self, _name: str, inputs: Inputs) -> Made:
        vpc, encryption = inputs["vpcConfig"], inputs["encryptionConfig"]
        made = self.eks.create_cluster(
            name=inputs["name"],
            version=inputs["version"],
            roleArn=inputs["roleArn"],
            resourcesVpcConfig={
                "subnetIds": vpc["subnetIds"],
                "securityGroupIds": vpc["securityGroupIds"],
                "endpointPrivateAccess": vpc["endpointPrivateAccess"],
                "endpointPublicAccess": vpc["endpointPublicAccess"],
            },
            kubernetesNetworkConfig={"serviceIpv4Cidr": inputs["kubernetesNetworkConfig"]["serviceIpv4Cidr"]},
            encryptionConfig=[
                {"resources": encryption["resources"], "provider": {"keyArn": encryption["provider"]["keyArn"]}}
            ],
            logging={"clusterLogging": [{"types": inputs["enabledClusterLogTypes"], "enabled": True}]},
            tags=inputs["tags"],
        )["cluster"]
        added = {
            "arn": made["arn"],
            "endpoint": made["endpoint"],
            "certificateAuthority": {"data": made["certificateAuthority"]["data"]},
        }
        return inputs["name"], added

    def _node_group(self, _name: str, inputs: Inputs) -> Made:
        scaling, template = inputs["scalingConfig"], inputs["launchTemplate"]
        made = self.eks.create_nodegroup(
            clusterName=inputs["clusterName"],
            nodegroupName=inputs["nodeGroupName"],
            nodeRole=inputs["nodeRoleArn"],
            subnets=inputs["subnetIds"],
            amiType=inputs["amiType"],
            capacityType=inputs["capacityType"],
            instanceTypes=inputs["instanceTypes"],
            scalingConfig={key: int(scaling[key]) for key in ("minSize", "maxSize", "desiredSize")},
            launchTemplate={"id": template["id"], "version": template["version"]},
            labels=inputs.get("labels", {}),
            taints=inputs.get("taints", []),
            tags=inputs["tags"],
        )["nodegroup"]
        return f"{inputs['clusterName']}:{inputs['nodeGroupName']}", {"arn": made["nodegroupArn"]}

    # -- identities and keys

    def _role(self, name: str, inputs: Inputs) -> Made:
        made = self.iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=inputs["assumeRolePolicy"], Tags=tags(inputs)
        )["Role"]
        return name, {"name": name, "arn": made["Arn"]}

    def _attach(self, name: str, inputs: Inputs) -> Made:
        self.iam.attach_role_policy(RoleName=inputs["role"], PolicyArn=inputs["policyArn"])
        return name, {}

    def _role_policy(self, name: str, inputs: Inputs) -> Made:
        self.iam.put_role_policy(RoleName=inputs["role"], PolicyName=name, PolicyDocument=inputs["policy"])
        return f"{inputs['role']}:{name}", {}

    def _oidc(self, _name: str, inputs: Inputs) -> Made:
        made = self.iam.create_open_id_connect_provider(
            Url=inputs["url"], ClientIDList=inputs["clientIdLists"], ThumbprintList=[], Tags=tags(inputs)
        )
        return made["OpenIDConnectProviderArn"], {"arn": made["OpenIDConnectProviderArn"]}

    def _key(self, _name: str, inputs: Inputs) -> Made:
        kms = self.session.client("kms")
        marks = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in tags(inputs)]
        made = kms.create_key(Description=inputs["description"], Tags=marks)["KeyMetadata"]
        if inputs["enableKeyRotation"]:
            kms.enable_key_rotation(KeyId=made["KeyId"])
        return made["KeyId"], {"arn": made["Arn"], "keyId": made["KeyId"]}

    # -- data

    def _bucket(self, _name: str, inputs: Inputs) -> Made:
        name, region = inputs["bucket"], self.session.region_name
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.s3.create_bucket(Bucket=name, **place)
        self.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags(inputs)})
        return name, {"arn": f"arn:aws:s3:::{name}"}

    def _public_access(self, name: str, inputs: Inputs) -> Made:
        keys = ("blockPublicAcls", "ignorePublicAcls", "blockPublicPolicy", "restrictPublicBuckets")
        block = {key[0].upper() + key[1:]: inputs[key] for key in keys}
        self.s3.put_public_access_block(Bucket=inputs["bucket"], PublicAccessBlockConfiguration=block)
        return name, {}

    def _ownership(self, name: str, inputs: Inputs) -> Made:
        rules = {"Rules": [{"ObjectOwnership": inputs["rule"]["objectOwnership"]}]}
        self.s3.put_bucket_ownership_controls(Bucket=inputs["bucket"], OwnershipControls=rules)
        return name, {}

    def _versioning(self, name: str, inputs: Inputs) -> Made:
        status = {"Status": inputs["versioningConfiguration"]["status"]}
        self.s3.put_bucket_versioning(Bucket=inputs["bucket"], VersioningConfiguration=status)
        return name, {}

    def _encryption(self, name: str, inputs: Inputs) -> Made:
        (rule,) = inputs["rules"]
        default = rule["applyServerSideEncryptionByDefault"]
        made = {
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": default["sseAlgorithm"],
                "KMSMasterKeyID": default["kmsMasterKeyId"],
            },
            "BucketKeyEnabled": rule["bucketKeyEnabled"],
        }
        self.s3.put_bucket_encryption(Bucket=inputs["bucket"], ServerSideEncryptionConfiguration={"Rules": [made]})
        return name, {}

    def _lifecycle(self, name: str, inputs: Inputs) -> Made:
        (rule,) = inputs["rules"]
        made = {
            "ID": rule["id"],
            "Status": rule["status"],
            "Filter": {"Prefix": rule["filter"]["prefix"]},
            "NoncurrentVersionExpiration": {
                "NoncurrentDays": int(rule["noncurrentVersionExpiration"]["noncurrentDays"])
            },
        }
        self.s3.put_bucket_lifecycle_configuration(Bucket=inputs["bucket"], LifecycleConfiguration={"Rules": [made]})
        return name, {}

    def _bucket_policy(self, name: str, inputs: Inputs) -> Made:
        self.s3.put_bucket_policy(Bucket=inputs["bucket"], Policy=inputs["policy"])
        return name, {}

    def _repository(self, _name: str, inputs: Inputs) -> Made:
        (encryption,) = inputs["encryptionConfigurations"]
        made = self.session.client("ecr").create_repository(
            repositoryName=inputs["name"],
            imageTagMutability=inputs["imageTagMutability"],
            imageScanningConfiguration={"scanOnPush": inputs["imageScanningConfiguration"]["scanOnPush"]},
            encryptionConfiguration={
                "encryptionType": encryption["encryptionType"],
                "kmsKey": encryption["kmsKey"],
            },
            tags=tags(inputs),
        )["repository"]
        return inputs["name"], {"arn": made["repositoryArn"], "repositoryUrl": made["repositoryUri"]}

    def _repository_lifecycle(self, name: str, inputs: Inputs) -> Made:
        self.session.client("ecr").put_lifecycle_policy(
            repositoryName=inputs["repository"], lifecyclePolicyText=inputs["policy"]
        )
        return name, {}

    # -- notices, logs, budget

    def _queue(self, _name: str, inputs: Inputs) -> Made:
        attributes = {
            "SqsManagedSseEnabled": json.dumps(inputs["sqsManagedSseEnabled"]),
            "MessageRetentionPeriod": str(int(inputs["messageRetentionSeconds"])),
        }
        made = self.session.client("sqs").create_queue(
            QueueName=inputs["name"], Attributes=attributes, tags=inputs["tags"]
        )
        url = made["QueueUrl"]
        return url, {"url": url, "arn": f"arn:aws:sqs:{self._at}:{inputs['name']}"}

    def _queue_policy(self, name: str, inputs: Inputs) -> Made:
        self.session.client("sqs").set_queue_attributes(
            QueueUrl=inputs["queueUrl"], Attributes={"Policy": inputs["policy"]}
        )
        return name, {}

    def _event_rule(self, _name: str, inputs: Inputs) -> Made:
        made = self.session.client("events").put_rule(
            Name=inputs["name"], EventPattern=inputs["eventPattern"], Tags=tags(inputs)
        )
        return inputs["name"], {"arn": made["RuleArn"]}

    def _event_target(self, name: str, inputs: Inputs) -> Made:
        self.session.client("events").put_targets(
            Rule=inputs["rule"], Targets=[{"Id": inputs["targetId"], "Arn": inputs["arn"]}]
        )
        return name, {}

    def _log_group(self, _name: str, inputs: Inputs) -> Made:
        logs = self.session.client("logs")
        logs.create_log_group(logGroupName=inputs["name"], tags=inputs["tags"])
        logs.put_retention_policy(logGroupName=inputs["name"], retentionInDays=int(inputs["retentionInDays"]))
        return inputs["name"], {}

    def _budget(self, name: str, inputs: Inputs) -> Made:
        told = [
            {
                "Notification": {
                    "NotificationType": alarm["notificationType"],
                    "ComparisonOperator": alarm["comparisonOperator"],
                    "Threshold": alarm["threshold"],
                    "ThresholdType": alarm["thresholdType"],
                },
                "Subscribers": [
                    {"SubscriptionType": "EMAIL", "Address": address} for address in alarm["subscriberEmailAddresses"]
                ],
            }
            for alarm in inputs["notifications"]
        ]
        self.session.client("budgets").create_budget(
            AccountId=inputs["accountId"],
            Budget={
                "BudgetName": inputs["name"],
                "BudgetType": inputs["budgetType"],
                "TimeUnit": inputs["timeUnit"],
                "BudgetLimit": {"Amount": inputs["limitAmount"], "Unit": inputs["limitUnit"]},
                "CostFilters": {cost["name"]: cost["values"] for cost in inputs["costFilters"]},
            },
            NotificationsWithSubscribers=told,
        )
        return f"{self._account_id}:{name}", {}
