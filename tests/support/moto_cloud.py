"""AWS for Pulumi's mocks: each resource is really created in moto, and answers with the provider's shape.

A type is either created here, or named in `WITHOUT_MOTO` because moto does not know it; any other type is an error, so
nothing passes unseen. Must be used inside `moto.mock_aws`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import boto3

Inputs = Mapping[str, Any]
Made = tuple[str, dict[str, Any]]
"""Id, and what the provider adds to the inputs."""

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
        self._creators: dict[str, Callable[[str, Inputs], Made]] = {
            "ec2/vpc:Vpc": self._vpc,
            "ec2/defaultSecurityGroup:DefaultSecurityGroup": self._default_group,
            "ec2/subnet:Subnet": self._subnet,
            "ec2/internetGateway:InternetGateway": self._internet_gateway,
            "ec2/routeTable:RouteTable": self._route_table,
            "ec2/route:Route": self._route,
            "ec2/routeTableAssociation:RouteTableAssociation": self._association,
            "ec2/eip:Eip": self._address,
            "ec2/natGateway:NatGateway": self._nat,
            "ec2/securityGroup:SecurityGroup": self._group,
            "ec2/vpcEndpoint:VpcEndpoint": self._endpoint,
            "ec2/vpnGateway:VpnGateway": self._vpn_gateway,
            "ec2/customerGateway:CustomerGateway": self._customer_gateway,
            "ec2/vpnConnection:VpnConnection": self._vpn,
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

    # -- network

    def _tag(self, kind: str, inputs: Inputs) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": _tags(inputs)}]

    def _vpc(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_vpc(CidrBlock=inputs["cidrBlock"], TagSpecifications=self._tag("vpc", inputs))["Vpc"]
        return made["VpcId"], {}

    def _default_group(self, _name: str, inputs: Inputs) -> Made:
        """The provider takes the group over and revokes all rules that are not declared."""
        mine = [{"Name": "vpc-id", "Values": [inputs["vpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
        (found,) = self.ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        if found["IpPermissionsEgress"]:
            self.ec2.revoke_security_group_egress(GroupId=found["GroupId"], IpPermissions=found["IpPermissionsEgress"])
        if found["IpPermissions"]:
            self.ec2.revoke_security_group_ingress(GroupId=found["GroupId"], IpPermissions=found["IpPermissions"])
        return found["GroupId"], {}

    def _subnet(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_subnet(
            VpcId=inputs["vpcId"],
            CidrBlock=inputs["cidrBlock"],
            AvailabilityZone=inputs["availabilityZone"],
            TagSpecifications=self._tag("subnet", inputs),
        )["Subnet"]
        self.ec2.modify_subnet_attribute(
            SubnetId=made["SubnetId"], MapPublicIpOnLaunch={"Value": inputs["mapPublicIpOnLaunch"]}
        )
        return made["SubnetId"], {}

    def _internet_gateway(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_internet_gateway(TagSpecifications=self._tag("internet-gateway", inputs))
        id_ = made["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=id_, VpcId=inputs["vpcId"])
        return id_, {}

    def _route_table(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_route_table(VpcId=inputs["vpcId"], TagSpecifications=self._tag("route-table", inputs))
        return made["RouteTable"]["RouteTableId"], {}

    def _route(self, name: str, inputs: Inputs) -> Made:
        by = {"gatewayId": "GatewayId", "natGatewayId": "NatGatewayId"}
        self.ec2.create_route(
            RouteTableId=inputs["routeTableId"],
            DestinationCidrBlock=inputs["destinationCidrBlock"],
            **{by[key]: value for key, value in inputs.items() if key in by},
        )
        return name, {}

    def _association(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.associate_route_table(RouteTableId=inputs["routeTableId"], SubnetId=inputs["subnetId"])
        return made["AssociationId"], {}

    def _address(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.allocate_address(Domain="vpc", TagSpecifications=self._tag("elastic-ip", inputs))
        return made["AllocationId"], {"publicIp": made["PublicIp"]}

    def _nat(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_nat_gateway(
            SubnetId=inputs["subnetId"],
            AllocationId=inputs["allocationId"],
            TagSpecifications=self._tag("natgateway", inputs),
        )
        return made["NatGateway"]["NatGatewayId"], {}

    def _group(self, name: str, inputs: Inputs) -> Made:
        """The provider revokes AWS's rule that lets everything out."""
        made = self.ec2.create_security_group(
            GroupName=name,
            Description=inputs["description"],
            VpcId=inputs["vpcId"],
            TagSpecifications=self._tag("security-group", inputs),
        )
        self.ec2.revoke_security_group_egress(
            GroupId=made["GroupId"], IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        )
        rules = [
            {
                "IpProtocol": rule["protocol"],
                "FromPort": int(rule["fromPort"]),
                "ToPort": int(rule["toPort"]),
                "IpRanges": [{"CidrIp": cidr} for cidr in rule["cidrBlocks"]],
            }
            for rule in inputs.get("ingress", [])
        ]
        if rules:
            self.ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=rules)
        return made["GroupId"], {}

    def _endpoint(self, _name: str, inputs: Inputs) -> Made:
        optional = {
            "routeTableIds": "RouteTableIds",
            "subnetIds": "SubnetIds",
            "securityGroupIds": "SecurityGroupIds",
            "privateDnsEnabled": "PrivateDnsEnabled",
        }
        made = self.ec2.create_vpc_endpoint(
            VpcId=inputs["vpcId"],
            ServiceName=inputs["serviceName"],
            VpcEndpointType=inputs["vpcEndpointType"],
            TagSpecifications=self._tag("vpc-endpoint", inputs),
            **{optional[key]: value for key, value in inputs.items() if key in optional},
        )
        return made["VpcEndpoint"]["VpcEndpointId"], {}

    def _vpn_gateway(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_vpn_gateway(Type="ipsec.1", TagSpecifications=self._tag("vpn-gateway", inputs))
        id_ = made["VpnGateway"]["VpnGatewayId"]
        self.ec2.attach_vpn_gateway(VpnGatewayId=id_, VpcId=inputs["vpcId"])
        return id_, {}

    def _customer_gateway(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_customer_gateway(
            Type=inputs["type"],
            PublicIp=inputs["ipAddress"],
            BgpAsn=int(inputs["bgpAsn"]),
            TagSpecifications=self._tag("customer-gateway", inputs),
        )
        return made["CustomerGateway"]["CustomerGatewayId"], {}

    def _vpn(self, _name: str, inputs: Inputs) -> Made:
        made = self.ec2.create_vpn_connection(
            Type=inputs["type"],
            CustomerGatewayId=inputs["customerGatewayId"],
            VpnGatewayId=inputs["vpnGatewayId"],
            Options={"StaticRoutesOnly": inputs["staticRoutesOnly"]},
            TagSpecifications=self._tag("vpn-connection", inputs),
        )
        return made["VpnConnection"]["VpnConnectionId"], {}

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
                {"ResourceType": spec["resourceType"], "Tags": _tags(spec)} for spec in inputs["tagSpecifications"]
            ],
        }
        made = self.ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData=data,
            TagSpecifications=self._tag("launch-template", inputs),
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
            RoleName=name, AssumeRolePolicyDocument=inputs["assumeRolePolicy"], Tags=_tags(inputs)
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
            Url=inputs["url"], ClientIDList=inputs["clientIdLists"], ThumbprintList=[], Tags=_tags(inputs)
        )
        return made["OpenIDConnectProviderArn"], {"arn": made["OpenIDConnectProviderArn"]}

    def _key(self, _name: str, inputs: Inputs) -> Made:
        kms = self.session.client("kms")
        tags = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in _tags(inputs)]
        made = kms.create_key(Description=inputs["description"], Tags=tags)["KeyMetadata"]
        if inputs["enableKeyRotation"]:
            kms.enable_key_rotation(KeyId=made["KeyId"])
        return made["KeyId"], {"arn": made["Arn"], "keyId": made["KeyId"]}

    # -- data

    def _bucket(self, _name: str, inputs: Inputs) -> Made:
        name, region = inputs["bucket"], self.session.region_name
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.s3.create_bucket(Bucket=name, **place)
        self.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": _tags(inputs)})
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
            tags=_tags(inputs),
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
            Name=inputs["name"], EventPattern=inputs["eventPattern"], Tags=_tags(inputs)
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


def _tags(inputs: Inputs) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in inputs["tags"].items()]
