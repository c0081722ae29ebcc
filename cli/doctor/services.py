"""Whether AWS has, in this region, the builds of add-ons and the endpoint services that the program names."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.cli.aws_session import Account
from trainyard.cli.doctor.finding import Finding, Verdict
from trainyard.modules.addons import ADDON_VERSIONS
from trainyard.modules.endpoint_policy import WITH_POLICIES
from trainyard.stacks.settings import Settings

_TOLD_AT_ONCE = 3


def addons(account: Account, settings: Settings) -> Iterator[Finding]:
    """Each pinned build against what EKS offers for the cluster's version: one wrong number ends the `up`."""
    version = settings.kubernetes.version
    pages = account.client("eks").get_paginator("describe_addon_versions").paginate(kubernetesVersion=version)
    offered: dict[str, list[str]] = {}
    for page in pages:
        for addon in page["addons"]:
            offered.setdefault(addon["addonName"], []).extend(one["addonVersion"] for one in addon["addonVersions"])
    for name, build in ADDON_VERSIONS[version].items():
        if build in offered.get(name, ()):
            yield Finding("add-on", name, Verdict.FINE, f"{build} is there for Kubernetes {version}")
        else:
            newest = ", ".join(offered.get(name, ())[:_TOLD_AT_ONCE])
            yield Finding(
                "add-on",
                name,
                Verdict.FAILED,
                f"{build} is not offered for Kubernetes {version}" + (f"; {newest} are" if newest else ""),
                "put an offered build into modules/addons.py",
            )


def endpoints(account: Account, settings: Settings) -> Iterator[Finding]:
    """Each interface endpoint's service: is it in the region and in each zone, and does it take a policy."""
    if settings.network.existing is not None:
        return
    names = {f"com.amazonaws.{account.region}.{service}": service for service in settings.network.interface_endpoints}
    ec2 = account.client("ec2")
    filters = [{"Name": "service-type", "Values": ["Interface"]}]
    pages = ec2.get_paginator("describe_vpc_endpoint_services").paginate(Filters=filters)
    there = {one["ServiceName"]: one for page in pages for one in page["ServiceDetails"] if one["ServiceName"] in names}
    for name, service in sorted(names.items()):
        found = there.get(name)
        if found is None:
            yield Finding(
                "endpoint",
                service,
                Verdict.FAILED,
                f"{account.region} has no endpoint service {name}",
                "take it out of network.interface_endpoints, and let NAT lead to it if nodes call it",
            )
        elif missing := sorted(set(settings.availability_zones) - set(found.get("AvailabilityZones", ()))):
            yield Finding(
                "endpoint",
                service,
                Verdict.FAILED,
                f"not in {', '.join(missing)}",
                "choose other availability_zones, or take it out of network.interface_endpoints",
            )
        elif service in WITH_POLICIES and found.get("VpcEndpointPolicySupported") is False:
            yield Finding(
                "endpoint",
                service,
                Verdict.FAILED,
                "takes no policy here, and the program gives it one",
                "take it out of WITH_POLICIES in modules/endpoint_policy.py",
            )
        else:
            yield Finding("endpoint", service, Verdict.FINE, f"is in {', '.join(settings.availability_zones)}")
