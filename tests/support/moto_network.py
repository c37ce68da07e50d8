"""The network of Pulumi's mocks, created in moto: VPC, subnets, gateways, routes, groups, endpoints, VPN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Inputs = Mapping[str, Any]
Made = tuple[str, dict[str, Any]]
"""Id, and what the provider adds to the inputs."""


def tags(inputs: Inputs) -> list[dict[str, str]]:
    """Tags as most of AWS's calls want them."""
    return [{"Key": key, "Value": value} for key, value in inputs["tags"].items()]


def tagged(kind: str, inputs: Inputs) -> list[dict[str, Any]]:
    """Tags as EC2's calls want them."""
    return [{"ResourceType": kind, "Tags": tags(inputs)}]


class MotoNetwork:
    """Creators of what EC2 has beside machines, by Pulumi's type without `aws:`."""

    def __init__(self, ec2: Any) -> None:
        self._ec2 = ec2

    def creators(self) -> dict[str, Callable[[str, Inputs], Made]]:
        """What creates each type."""
        return {
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
        }

    def _vpc(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_vpc(CidrBlock=inputs["cidrBlock"], TagSpecifications=tagged("vpc", inputs))["Vpc"]
        return made["VpcId"], {}

    def _default_group(self, _name: str, inputs: Inputs) -> Made:
        """The provider takes the group over and revokes all rules that are not declared."""
        mine = [{"Name": "vpc-id", "Values": [inputs["vpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
        (found,) = self._ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        if found["IpPermissionsEgress"]:
            self._ec2.revoke_security_group_egress(GroupId=found["GroupId"], IpPermissions=found["IpPermissionsEgress"])
        if found["IpPermissions"]:
            self._ec2.revoke_security_group_ingress(GroupId=found["GroupId"], IpPermissions=found["IpPermissions"])
        return found["GroupId"], {}

    def _subnet(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_subnet(
            VpcId=inputs["vpcId"],
            CidrBlock=inputs["cidrBlock"],
            AvailabilityZone=inputs["availabilityZone"],
            TagSpecifications=tagged("subnet", inputs),
        )["Subnet"]
        self._ec2.modify_subnet_attribute(
            SubnetId=made["SubnetId"], MapPublicIpOnLaunch={"Value": inputs["mapPublicIpOnLaunch"]}
        )
        return made["SubnetId"], {}

    def _internet_gateway(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway", inputs))
        id_ = made["InternetGateway"]["InternetGatewayId"]
        self._ec2.attach_internet_gateway(InternetGatewayId=id_, VpcId=inputs["vpcId"])
        return id_, {}

    def _route_table(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_route_table(VpcId=inputs["vpcId"], TagSpecifications=tagged("route-table", inputs))
        return made["RouteTable"]["RouteTableId"], {}

    def _route(self, name: str, inputs: Inputs) -> Made:
        by = {"gatewayId": "GatewayId", "natGatewayId": "NatGatewayId"}
        self._ec2.create_route(
            RouteTableId=inputs["routeTableId"],
            DestinationCidrBlock=inputs["destinationCidrBlock"],
            **{by[key]: value for key, value in inputs.items() if key in by},
        )
        return name, {}

    def _association(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.associate_route_table(RouteTableId=inputs["routeTableId"], SubnetId=inputs["subnetId"])
        return made["AssociationId"], {}

    def _address(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", inputs))
        return made["AllocationId"], {"publicIp": made["PublicIp"]}

    def _nat(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_nat_gateway(
            SubnetId=inputs["subnetId"],
            AllocationId=inputs["allocationId"],
            TagSpecifications=tagged("natgateway", inputs),
        )
        return made["NatGateway"]["NatGatewayId"], {}

    def _group(self, name: str, inputs: Inputs) -> Made:
        """The provider revokes AWS's rule that lets everything out."""
        made = self._ec2.create_security_group(
            GroupName=name,
            Description=inputs["description"],
            VpcId=inputs["vpcId"],
            TagSpecifications=tagged("security-group", inputs),
        )
        self._ec2.revoke_security_group_egress(
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
            self._ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=rules)
        return made["GroupId"], {}

    def _endpoint(self, _name: str, inputs: Inputs) -> Made:
        optional = {
            "routeTableIds": "RouteTableIds",
            "subnetIds": "SubnetIds",
            "securityGroupIds": "SecurityGroupIds",
            "privateDnsEnabled": "PrivateDnsEnabled",
        }
        made = self._ec2.create_vpc_endpoint(
            VpcId=inputs["vpcId"],
            ServiceName=inputs["serviceName"],
            VpcEndpointType=inputs["vpcEndpointType"],
            TagSpecifications=tagged("vpc-endpoint", inputs),
            **{optional[key]: value for key, value in inputs.items() if key in optional},
        )
        return made["VpcEndpoint"]["VpcEndpointId"], {}

    def _vpn_gateway(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_vpn_gateway(Type="ipsec.1", TagSpecifications=tagged("vpn-gateway", inputs))
        id_ = made["VpnGateway"]["VpnGatewayId"]
        self._ec2.attach_vpn_gateway(VpnGatewayId=id_, VpcId=inputs["vpcId"])
        return id_, {}

    def _customer_gateway(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_customer_gateway(
            Type=inputs["type"],
            PublicIp=inputs["ipAddress"],
            BgpAsn=int(inputs["bgpAsn"]),
            TagSpecifications=tagged("customer-gateway", inputs),
        )
        return made["CustomerGateway"]["CustomerGatewayId"], {}

    def _vpn(self, _name: str, inputs: Inputs) -> Made:
        made = self._ec2.create_vpn_connection(
            Type=inputs["type"],
            CustomerGatewayId=inputs["customerGatewayId"],
            VpnGatewayId=inputs["vpnGatewayId"],
            Options={"StaticRoutesOnly": inputs["staticRoutesOnly"]},
            TagSpecifications=tagged("vpn-connection", inputs),
        )
        return made["VpnConnection"]["VpnConnectionId"], {}
