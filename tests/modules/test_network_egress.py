"""What a network adds on request: interface endpoints and NAT."""

from __future__ import annotations

import ipaddress

import pytest
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, Registered, run

from trainyard.modules.network import Network, NetworkArgs, private_subnet_blocks, public_subnet_blocks

ZONES = ["us-east-1a", "us-east-1b"]
SERVICES = ["ecr.api", "ecr.dkr", "sts", "ec2", "logs", "sqs", "kms", "eks", "eks-auth", "fsx", "autoscaling"]
STRANGER = "999999999999"

ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
NAT = "aws:ec2/natGateway:NatGateway"
ROUTE = "aws:ec2/route:Route"
SUBNET = "aws:ec2/subnet:Subnet"


def _network(**arguments: object) -> Deployment:
    def program() -> None:
        import pulumi

        network = Network("yard", NetworkArgs("10.64.0.0/16", ZONES, **arguments))
        pulumi.export("by_zone", network.private_subnet_ids_by_zone)
        pulumi.export("group", network.endpoints_security_group_id)

    return run(program)


@pytest.fixture(scope="module")
def endpoints() -> Deployment:
    return _network(interface_endpoints=[*SERVICES, "bedrock-runtime"], tags={"owner": "ml"})


@pytest.fixture(scope="module")
def per_zone() -> Deployment:
    return _network(nat="per-zone")


def _endpoint(network: Deployment, service: str) -> Registered:
    return network.one(ENDPOINT, f"yard-{service}")


def test_each_service_answers_in_every_private_subnet_under_its_own_name(endpoints: Deployment) -> None:
    subnets = set(endpoints.outputs["by_zone"].values())
    for service in SERVICES:
        endpoint = _endpoint(endpoints, service).inputs
        assert endpoint["serviceName"] == f"com.amazonaws.{REGION}.{service}"
        assert endpoint["vpcEndpointType"] == "Interface"
        assert endpoint["privateDnsEnabled"] is True
        assert set(endpoint["subnetIds"]) == subnets


def test_the_endpoints_take_https_from_the_vpc_and_nothing_else(endpoints: Deployment) -> None:
    group = endpoints.outputs["group"]
    rule = endpoints.one("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").inputs
    assert rule["securityGroupId"] == group
    assert (rule["ipProtocol"], rule["fromPort"], rule["toPort"]) == ("tcp", 443, 443)
    assert rule["cidrIpv4"] == "10.64.0.0/16"
    assert rule["description"]
    assert not endpoints.of_type("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    for service in SERVICES:
        assert _endpoint(endpoints, service).inputs["securityGroupIds"] == [group]


def _passes(network: Deployment, service: str, action: str, caller: str = ACCOUNT, owner: str = ACCOUNT) -> bool:
    context = {"aws:PrincipalAccount": caller, "aws:ResourceAccount": owner}
    policy = _endpoint(network, service).inputs["policy"]
    return allows(policy, Request(action, "*", f"arn:aws:iam::{caller}:role/node", context))


@pytest.mark.parametrize("service", SERVICES)
def test_only_this_accounts_principals_pass_an_endpoint(endpoints: Deployment, service: str) -> None:
    action = {"ecr.api": "ecr:PutImage", "ecr.dkr": "ecr:PutImage"}.get(service, f"{service}:Anything")
    assert _passes(endpoints, service, action)
    assert not _passes(endpoints, service, action, caller=STRANGER, owner=STRANGER)
    assert not _passes(endpoints, service, action, caller=STRANGER)


def test_nobody_sends_to_another_accounts_queue_or_encrypts_for_its_key(endpoints: Deployment) -> None:
    assert not _passes(endpoints, "sqs", "sqs:SendMessage", owner=STRANGER)
    assert not _passes(endpoints, "kms", "kms:Encrypt", owner=STRANGER)


@pytest.mark.parametrize("service", ["ecr.api", "ecr.dkr"])
def test_images_of_other_accounts_can_be_pulled_and_not_pushed(endpoints: Deployment, service: str) -> None:
    for action in ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"):
        assert _passes(endpoints, service, action, owner="602401143452"), "the add-ons of EKS come from AWS's account"
    for action in ("ecr:PutImage", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart"):
        assert not _passes(endpoints, service, action, owner=STRANGER)
    # This request names no repository, so it has no owner.
    policy = _endpoint(endpoints, service).inputs["policy"]
    token = Request("ecr:GetAuthorizationToken", "*", "anyone", {"aws:PrincipalAccount": ACCOUNT})
    assert allows(policy, token)


def test_a_service_that_may_take_no_policy_is_given_none(endpoints: Deployment) -> None:
    assert "policy" not in _endpoint(endpoints, "bedrock-runtime").inputs


def test_without_endpoints_there_is_no_group() -> None:
    plain = _network()
    assert plain.outputs["group"] is None
    assert not plain.of_type("aws:ec2/securityGroup:SecurityGroup")
    assert [endpoint.name for endpoint in plain.of_type(ENDPOINT)] == ["yard-s3"]


def test_subnets_are_told_by_zone(endpoints: Deployment) -> None:
    made = {one.inputs["availabilityZone"]: one.id for one in endpoints.of_type(SUBNET)}
    assert endpoints.outputs["by_zone"] == made
    assert sorted(made) == ZONES


def _private_routes(network: Deployment) -> dict[str, Registered]:
    return {route.name: route for route in network.of_type(ROUTE) if "natGatewayId" in route.inputs}


def test_nat_per_zone_keeps_each_zones_traffic_in_it(per_zone: Deployment) -> None:
    zone_of_subnet = {one.id: one.inputs["availabilityZone"] for one in per_zone.of_type(SUBNET)}
    zone_of_nat = {one.id: zone_of_subnet[one.inputs["subnetId"]] for one in per_zone.of_type(NAT)}
    assert sorted(zone_of_nat.values()) == ZONES
    routes = _private_routes(per_zone)
    assert {name: zone_of_nat[route.inputs["natGatewayId"]] for name, route in routes.items()} == {
        f"yard-private-{zone}": zone for zone in ZONES
    }
    assert all(route.inputs["destinationCidrBlock"] == "0.0.0.0/0" for route in routes.values())


def test_a_single_nat_serves_every_zone() -> None:
    single = _network(nat="single")
    nat = single.one(NAT)
    assert {route.inputs["natGatewayId"] for route in _private_routes(single).values()} == {nat.id}
    assert len(_private_routes(single)) == len(ZONES)
    assert len(single.of_type("aws:ec2/eip:Eip")) == 1


def test_public_subnets_hold_nothing_but_nat_and_give_out_no_addresses(per_zone: Deployment) -> None:
    public = [one for one in per_zone.of_type(SUBNET) if one.name.startswith("yard-public-")]
    assert len(public) == len(ZONES)
    for subnet in per_zone.of_type(SUBNET):
        assert subnet.inputs["mapPublicIpOnLaunch"] is False
    tables = {one.id: one.name for one in per_zone.of_type("aws:ec2/routeTable:RouteTable")}
    gateway = per_zone.one("aws:ec2/internetGateway:InternetGateway").id
    (outward,) = (route for route in per_zone.of_type(ROUTE) if route.inputs.get("gatewayId") == gateway)
    assert tables[outward.inputs["routeTableId"]] == "yard-public"
    joined = per_zone.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
    of_public = {one.inputs["subnetId"] for one in joined if tables[one.inputs["routeTableId"]] == "yard-public"}
    assert of_public == {subnet.id for subnet in public}


def test_destroy_takes_nat_and_addresses_away_before_the_gateway(per_zone: Deployment) -> None:
    gateway = per_zone.one("aws:ec2/internetGateway:InternetGateway")
    outward = per_zone.one(ROUTE, "yard-public")
    assert gateway.urn in outward.dependencies
    for address in per_zone.of_type("aws:ec2/eip:Eip"):
        assert gateway.urn in address.dependencies
    for nat in per_zone.of_type(NAT):
        assert outward.urn in nat.dependencies
    for route in _private_routes(per_zone).values():
        assert {nat.urn for nat in per_zone.of_type(NAT)} & route.dependencies


def test_what_is_there_stays_when_nat_and_endpoints_are_added() -> None:
    before = {(one.type, one.name): one.inputs for one in _network().resources}
    after = {(one.type, one.name): one.inputs for one in _network(nat="single", interface_endpoints=["sts"]).resources}
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("prefix", [16, 20, 22])
@pytest.mark.parametrize("zones", [1, 6])
def test_public_subnets_lie_apart_from_the_private_ones(prefix: int, zones: int) -> None:
    vpc = f"10.0.0.0/{prefix}"
    public = [ipaddress.IPv4Network(block) for block in public_subnet_blocks(vpc, zones)]
    private = [ipaddress.IPv4Network(block) for block in private_subnet_blocks(vpc, 6)]
    assert len(public) == zones
    assert all(block.subnet_of(ipaddress.IPv4Network(vpc)) and block.prefixlen <= 28 for block in public)
    assert not any(a.overlaps(b) for a in public for b in [*private, *public] if a is not b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nat": "two"}, "none, single, per-zone"),
        ({"interface_endpoints": ["sts", "sts"]}, "twice"),
        ({"interface_endpoints": ["s3"]}, "gateway endpoint"),
        ({"interface_endpoints": ["com.amazonaws.us-east-1.sts"]}, "end of an endpoint's name"),
        ({"interface_endpoints": ["ECR"]}, "end of an endpoint's name"),
        ({"cidr_block": "10.0.0.0/23", "nat": "single"}, "/22 or larger"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkArgs(**{"cidr_block": "10.64.0.0/16", "availability_zones": ZONES, **arguments})
