"""The VPC of the cloud site, its way out, and the tunnel to the private site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.addresses import ZoneSubnets, subnets
from infra.stack_config import NetworkConfig, OnPremConfig


@dataclass(frozen=True)
class NetworkArgs:
    """What a network is made from."""

    config: NetworkConfig
    region: str
    on_prem: OnPremConfig | None
    tags: Mapping[str, str]


class Network(pulumi.ComponentResource):
    """Private subnets for nodes, public ones for NAT gateways alone, endpoints, and the VPN.

    No machine gets a public address. The default security group is emptied, so what is started without a group of
    its own can talk to nobody.
    """

    vpc_id: pulumi.Output[str]
    private_subnet_ids: list[pulumi.Output[str]]
    vpn_connection_id: pulumi.Output[str] | None
    """None when the configuration asks for no VPN."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hcctl:infra:Network", name, None, opts)
        self._name, self._args = name, args
        self._inside = pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(
            name,
            cidr_block=str(args.config.vpc_cidr),
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags=self._tags(name),
            opts=self._inside,
        )
        self.vpc_id = vpc.id
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, tags=self._tags(name), opts=self._inside)
        cut = subnets(args.config.vpc_cidr, args.config.zones)
        nats = self._public_side(cut)
        privates = [self._private_subnet(zone, nats[n % len(nats)]) for n, zone in enumerate(cut)]
        self.private_subnet_ids = [subnet.id for subnet, _ in privates]
        tables = [table for _, table in privates]
        self._endpoints(tables)
        self.vpn_connection_id = self._vpn(tables)
        self.register_outputs({"vpc_id": self.vpc_id, "private_subnet_ids": self.private_subnet_ids})

    def _tags(self, name: str) -> dict[str, str]:
        return {**self._args.tags, "Name": name}

    def _public_side(self, cut: list[ZoneSubnets]) -> list[aws.ec2.NatGateway]:
        """Internet gateway and NAT gateways: one, or one per zone."""
        name, inside = self._name, self._inside
        gateway = aws.ec2.InternetGateway(name, vpc_id=self.vpc_id, tags=self._tags(name), opts=inside)
        table = aws.ec2.RouteTable(f"{name}-public", vpc_id=self.vpc_id, tags=self._tags(f"{name}-public"), opts=inside)
        aws.ec2.Route(
            f"{name}-public-out",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.id,
            opts=inside,
        )
        nats = []
        for zone in cut if self._args.config.nat == "per_zone" else cut[:1]:
            label = f"{name}-public-{zone.zone}"
            subnet = aws.ec2.Subnet(
                label,
                vpc_id=self.vpc_id,
                availability_zone=zone.zone,
                cidr_block=str(zone.public),
                map_public_ip_on_launch=False,
                tags=self._tags(label),
                opts=inside,
            )
            aws.ec2.RouteTableAssociation(label, subnet_id=subnet.id, route_table_id=table.id, opts=inside)
            address = aws.ec2.Eip(label, domain="vpc", tags=self._tags(label), opts=inside)
            nat = aws.ec2.NatGateway(
                label,
                subnet_id=subnet.id,
                allocation_id=address.id,
                tags=self._tags(label),
                # Without the gateway a NAT gateway has no way out and its creation fails.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[gateway]),
            )
            nats.append(nat)
        return nats

    def _private_subnet(self, zone: ZoneSubnets, nat: aws.ec2.NatGateway) -> tuple[aws.ec2.Subnet, aws.ec2.RouteTable]:
        label = f"{self._name}-private-{zone.zone}"
        subnet = aws.ec2.Subnet(
            label,
            vpc_id=self.vpc_id,
            availability_zone=zone.zone,
            cidr_block=str(zone.private),
            map_public_ip_on_launch=False,
            tags={**self._tags(label), "kubernetes.io/role/internal-elb": "1"},
            opts=self._inside,
        )
        table = aws.ec2.RouteTable(label, vpc_id=self.vpc_id, tags=self._tags(label), opts=self._inside)
        aws.ec2.RouteTableAssociation(label, subnet_id=subnet.id, route_table_id=table.id, opts=self._inside)
        aws.ec2.Route(
            f"{label}-out",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            nat_gateway_id=nat.id,
            opts=self._inside,
        )
        return subnet, table

    def _endpoints(self, tables: list[aws.ec2.RouteTable]) -> None:
        """Images, weights and credentials come by AWS's own network, not through NAT."""
        name, region = self._name, self._args.region
        aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags=self._tags(f"{name}-s3"),
            opts=self._inside,
        )
        if not self._args.config.interface_endpoints:
            return
        group = aws.ec2.SecurityGroup(
            f"{name}-endpoints",
            description="HTTPS from inside the VPC to AWS services",
            vpc_id=self.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol="tcp", from_port=443, to_port=443, cidr_blocks=[str(self._args.config.vpc_cidr)]
                )
            ],
            tags=self._tags(f"{name}-endpoints"),
            opts=self._inside,
        )
        for service in self._args.config.interface_endpoints:
            label = f"{name}-{service.replace('.', '-')}"
            aws.ec2.VpcEndpoint(
                label,
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=self.private_subnet_ids,
                security_group_ids=[group.id],
                tags=self._tags(label),
                opts=self._inside,
            )

    def _vpn(self, tables: list[aws.ec2.RouteTable]) -> pulumi.Output[str] | None:
        """Two tunnels to the on-prem device; each private subnet has a route to each on-prem range."""
        on_prem = self._args.on_prem
        if on_prem is None or on_prem.vpn is None:
            return None
        name, inside = self._name, self._inside
        near = aws.ec2.VpnGateway(name, vpc_id=self.vpc_id, tags=self._tags(name), opts=inside)
        far = aws.ec2.CustomerGateway(
            name,
            type="ipsec.1",
            ip_address=str(on_prem.vpn.gateway_ip),
            bgp_asn=str(on_prem.vpn.bgp_asn),
            tags=self._tags(name),
            opts=inside,
        )
        tunnel = aws.ec2.VpnConnection(
            name,
            type="ipsec.1",
            vpn_gateway_id=near.id,
            customer_gateway_id=far.id,
            static_routes_only=True,
            tags=self._tags(name),
            opts=inside,
        )
        for n, cidr in enumerate(on_prem.cidrs):
            aws.ec2.VpnConnectionRoute(
                f"{name}-{n}", vpn_connection_id=tunnel.id, destination_cidr_block=str(cidr), opts=inside
            )
            for zone, table in zip(self._args.config.zones, tables, strict=True):
                aws.ec2.Route(
                    f"{name}-{zone}-on-prem-{n}",
                    route_table_id=table.id,
                    destination_cidr_block=str(cidr),
                    gateway_id=near.id,
                    opts=inside,
                )
        connection: pulumi.Output[str] = tunnel.id
        return connection
