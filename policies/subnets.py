"""Which subnets are public: those whose routes lead to an internet gateway."""

from __future__ import annotations

from collections.abc import Iterable

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.values import UNKNOWN, Value

SUBNETS = frozenset({"aws:ec2/subnet:Subnet", "aws:ec2/defaultSubnet:DefaultSubnet"})
VPCS = frozenset({"aws:ec2/vpc:Vpc", "aws:ec2/defaultVpc:DefaultVpc"})
_GATEWAYS = frozenset({"aws:ec2/internetGateway:InternetGateway"})
_DEFAULT_TABLES = frozenset({"aws:ec2/defaultRouteTable:DefaultRouteTable"})
_TABLES = frozenset({"aws:ec2/routeTable:RouteTable"}) | _DEFAULT_TABLES
_ROUTES = frozenset({"aws:ec2/route:Route"})
_ASSOCIATIONS = frozenset({"aws:ec2/routeTableAssociation:RouteTableAssociation"})
_MAIN_ASSOCIATIONS = frozenset({"aws:ec2/mainRouteTableAssociation:MainRouteTableAssociation"})


def any_of(verdicts: Iterable[bool | None]) -> bool | None:
    """True as soon as one is; None where none is and one is not known."""
    found = list(verdicts)
    return True if True in found else None if None in found else False


def is_public(subnet: Resource, graph: Graph) -> bool | None:
    """Whether a route of the subnet leads to an internet gateway; None where that cannot be told."""
    found = graph.attached(subnet, _ASSOCIATIONS, "subnetId")
    if not found.certain and not found.possible:
        return _through_main_table(subnet, graph)
    verdicts = [_through_table(association, graph) for association in found.certain]
    return any_of([*verdicts, *(None for _ in found.possible)])


def named(listed: Value, holder: Resource, graph: Graph) -> list[Resource] | None:
    """The subnets that a list names, the ones it may be computed from where it is not known yet; None where that
    cannot be told, since one of them is no part of this stack."""
    origins = [one for one in graph.origins(holder, str(listed.path[0])) if one.type in SUBNETS]
    if listed.raw is UNKNOWN:
        return origins or None
    found: dict[str, Resource] = {}
    for one in [listed] if isinstance(listed.raw, str) else listed.items():
        matches = (
            origins if one.raw is UNKNOWN else [subnet for subnet in graph.of(SUBNETS) if one.text() in _ids(subnet)]
        )
        if not matches:
            return None
        found.update((match.urn, match) for match in matches)
    return list(found.values())


def _ids(subnet: Resource) -> set[str]:
    arn = subnet.props.get("arn")
    found = [subnet.props.get("id"), arn.rpartition("/")[2] if isinstance(arn, str) else None]
    return {text for text in found if isinstance(text, str) and text}


def _through_table(association: Resource, graph: Graph) -> bool | None:
    tables = [table for table in graph.of(_TABLES) if graph.refers(association, "routeTableId", table)]
    return _leads_out(tables[0], graph) if len(tables) == 1 else None


def _leads_out(table: Resource, graph: Graph) -> bool | None:
    routes = table["routes"]
    verdicts: list[bool | None] = []
    if routes.known:
        verdicts += [_to_internet(route["gatewayId"], table, graph) for route in routes.items()]
    elif "routes" in table.property_dependencies:
        verdicts.append(_to_internet(routes, table, graph))
    separate = graph.attached(table, _ROUTES, "routeTableId")
    verdicts += [_to_internet(route["gatewayId"], route, graph) for route in separate.certain]
    for route in separate.possible:
        verdicts.append(None if _to_internet(route["gatewayId"], route, graph) is not False else False)
    return any_of(verdicts)


def _to_internet(gateway: Value, holder: Resource, graph: Graph) -> bool | None:
    if gateway.raw is UNKNOWN:
        name = str(gateway.path[0])
        if is_providers_choice(holder, name):
            return False if name == "gatewayId" else None
        return True if any(one.type in _GATEWAYS for one in graph.origins(holder, name)) else None
    return (gateway.text() or "").startswith("igw-")


def _through_main_table(subnet: Resource, graph: Graph) -> bool | None:
    """A subnet without a table of its own uses its VPC's. AWS makes that with no way out."""
    vpcs = [vpc for vpc in graph.of(VPCS) if graph.refers(subnet, "vpcId", vpc)]
    if len(vpcs) != 1:
        return None
    (vpc,) = vpcs
    verdicts = [
        _through_table(one, graph) if graph.refers(one, "vpcId", vpc) else None
        for one in graph.of(_MAIN_ASSOCIATIONS)
        if graph.refers(one, "vpcId", vpc) is not False
    ]
    verdicts += [_leads_out(table, graph) for table in graph.of(_DEFAULT_TABLES) if _is_main(table, vpc, graph)]
    verdicts += [
        _to_internet(route["gatewayId"], route, graph)
        for route in graph.of(_ROUTES)
        if _is_main_of(route, "routeTableId", vpc, graph)
    ]
    return any_of(verdicts)


def _is_main(table: Resource, vpc: Resource, graph: Graph) -> bool:
    return _is_main_of(table, "defaultRouteTableId", vpc, graph)


def _is_main_of(resource: Resource, name: str, vpc: Resource, graph: Graph) -> bool:
    """Whether a property names the table that AWS made with a VPC."""
    value = resource.props.get(name)
    if isinstance(value, str):
        return value in (vpc.props.get("mainRouteTableId"), vpc.props.get("defaultRouteTableId"))
    return any(origin.urn == vpc.urn for origin in graph.origins(resource, name))
