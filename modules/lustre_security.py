"""The security group of a Lustre file system, and what its clients' groups need to reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pulumi
import pulumi_aws as aws

Rule: TypeAlias = aws.vpc.SecurityGroupIngressRule | aws.vpc.SecurityGroupEgressRule

PORTS: Mapping[str, tuple[int, int]] = {"988": (988, 988), "1018": (1018, 1023)}
"""TCP ports of Lustre, by the rule's label. Source: FSx for Lustre user guide, "Creating an FSx for
Lustre file system fails" and "File system access control with Amazon VPC", read 2026-11."""


@dataclass
class LustreSecurity:
    """The group and its rules, which belong to `owner`.

    The file system may be reached by its clients and by itself. Each rule stands on both sides, in and out, so that
    clients whose group lets nothing out can mount it too.
    """

    owner: pulumi.ComponentResource
    name: str
    group: aws.ec2.SecurityGroup
    tags: Mapping[str, pulumi.Input[str]]
    rules: list[Rule] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        owner: pulumi.ComponentResource,
        name: str,
        vpc_id: pulumi.Input[str],
        client_group_ids: Sequence[pulumi.Input[str]],
        tags: Mapping[str, pulumi.Input[str]],
    ) -> LustreSecurity:
        """Make the group, open to itself and to the clients on Lustre's ports."""
        group = aws.ec2.SecurityGroup(
            f"{name}-lustre",
            description=f"Lustre file system of {name}",
            vpc_id=vpc_id,
            tags={**tags, "Name": f"{name}-lustre"},
            opts=pulumi.ResourceOptions(parent=owner),
        )
        security = cls(owner, name, group, tags)
        security._open_ports("self", group.id, group.id, "between its servers")
        for index, client in enumerate(client_group_ids):
            security._open_ports(f"client-{index}", group.id, client, "with its clients")
            security._open_ports(f"server-{index}", client, group.id, "with the file system")
        return security

    def open_to_efa(self, efa_group_ids_by_name: Mapping[str, pulumi.Input[str]]) -> None:
        """Let everything pass between the file system and each of the nodes' EFA groups: EFA knows neither TCP nor
        ports. (FSx for Lustre user guide, "Creating an FSx for Lustre file system fails", read 2026-11.)"""
        self._rules("efa-self", self.group.id, self.group.id, "EFA between its servers")
        for name, efa_group_id in efa_group_ids_by_name.items():
            self._rules(f"efa-client-{name}", self.group.id, efa_group_id, f"EFA with its clients of {name}")
            self._rules(f"efa-server-{name}", efa_group_id, self.group.id, "EFA with the file system")

    def _open_ports(self, label: str, group_id: pulumi.Input[str], peer_id: pulumi.Input[str], whom: str) -> None:
        for port, span in PORTS.items():
            self._rules(f"{label}-{port}", group_id, peer_id, f"Lustre {whom}", span)

    def _rules(
        self,
        label: str,
        group_id: pulumi.Input[str],
        peer_id: pulumi.Input[str],
        description: str,
        ports: tuple[int, int] | None = None,
    ) -> None:
        """One rule for each direction; without `ports`, for all traffic."""
        first, last = ports or (None, None)
        for direction, kind in (("in", aws.vpc.SecurityGroupIngressRule), ("out", aws.vpc.SecurityGroupEgressRule)):
            self.rules.append(
                kind(
                    f"{self.name}-lustre-{label}-{direction}",
                    security_group_id=group_id,
                    referenced_security_group_id=peer_id,
                    description=description,
                    ip_protocol="-1" if ports is None else "tcp",
                    from_port=first,
                    to_port=last,
                    tags=self.tags,
                    opts=pulumi.ResourceOptions(parent=self.owner),
                )
            )
