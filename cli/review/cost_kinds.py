"""How each kind of resource is charged. What needs no reckoning is in cost_kinds.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainyard.cli.review import cost_nodes
from trainyard.cli.review.cost_lines import (
    HOURS_A_MONTH,
    PAID_AS_ITSELF,
    Charged,
    Lines,
    Nature,
    listed,
    mapping,
    number,
    word,
)
from trainyard.policies.graph import Graph, Resource


def lines_of(resource: Resource, graph: Graph, component: str) -> Lines:
    """What a resource costs, at least one line: where nothing is known of its kind, that it is not priced."""
    charged = Charged(resource, graph, component)
    free, usage = _table()
    if reckon := _RECKONED.get(resource.type):
        yield from reckon(charged)
    elif rows := usage.get(resource.type):
        for row in rows:
            yield charged.by_use(row["item"], row["item"], row["times"], row["per"], row["assumption"])
    elif resource.type in free:
        yield charged.bare(Nature.FREE, free[resource.type])
    else:
        yield charged.bare(Nature.UNPRICED, "nothing is known of what this kind costs")


@cache
def _table() -> tuple[Mapping[str, str], Mapping[str, list[Mapping[str, Any]]]]:
    raw = yaml.safe_load(Path(__file__).with_name("cost_kinds.yaml").read_text(encoding="utf-8"))
    return {kind: reason for reason, kinds in raw["free"].items() for kind in kinds}, raw["usage"]


def _cluster(of: Charged) -> Lines:
    hours = f"{HOURS_A_MONTH} h"
    if mapping(of.props.get("upgradePolicy")).get("supportType") == "STANDARD":
        said = "AWS upgrades it when standard support ends, so that extended support is never paid"
        yield of.monthly(f"control plane, {hours}", "eks-cluster", HOURS_A_MONTH, said)
        return
    yield of.monthly(f"control plane, {hours}", "eks-cluster", HOURS_A_MONTH, "its version is in standard support")
    said = "in place of the price above, once standard support of its version has ended"
    yield of.by_use(
        "extended support", "eks-cluster-extended-support", HOURS_A_MONTH, "month in extended support", said
    )


def _lustre(of: Charged) -> Lines:
    size = number(of.props.get("storageCapacity"))
    kind, disk = word(of.props.get("deploymentType")) or "scratch_1", word(of.props.get("storageType")) or "ssd"
    if size is None:
        yield of.bare(Nature.UNPRICED, "its size is not known")
        return
    throughput = number(of.props.get("perUnitStorageThroughput"))
    tier = f"-{throughput:g}" if kind.startswith("persistent") and throughput else ""
    assumed = ("a GiB as AWS's GB", "over EFA it costs no more", "compression saves space, not money")
    yield of.monthly(
        f"{size:g} GiB {kind.upper()}{f' at {throughput:g} MB/s for each TiB' if tier else ''}",
        f"lustre-{kind}-{disk}{tier}",
        size,
        *assumed,
    )
    if mapping(of.props.get("metadataConfiguration")).get("mode") == "USER_PROVISIONED":
        yield of.bare(Nature.UNPRICED, "metadata operations that are provisioned apart")
    if number(of.props.get("automaticBackupRetentionDays")):
        said = "of every kept state only what changed"
        yield of.by_use("backups", "lustre-backup", 1000, "TB of files in backups for a month", said)


def _endpoint(of: Charged) -> Lines:
    kind = of.props.get("vpcEndpointType") or "Gateway"
    if kind == "Gateway":
        yield of.bare(Nature.FREE, "a gateway endpoint costs nothing")
        return
    zones = len(listed(of.props.get("subnetIds")))
    if kind != "Interface" or not zones:
        yield of.bare(Nature.UNPRICED, "its kind or its zones are not known")
        return
    said = f"in {zones} zones, {HOURS_A_MONTH} h"
    yield of.monthly("interface endpoint", "interface-endpoint", zones * HOURS_A_MONTH, said)
    yield of.by_use(
        "data", "interface-endpoint-data", 1000, "TB through interface endpoints", "the first PB of a month"
    )


def _nat(of: Charged) -> Lines:
    yield of.monthly("NAT gateway", "nat-gateway", HOURS_A_MONTH, f"{HOURS_A_MONTH} h")
    said = "both directions; to S3 it goes through the gateway endpoint, free"
    yield of.by_use("data", "nat-gateway-data", 1000, "TB through NAT", said)


def _address(of: Charged) -> Lines:
    yield of.monthly("public address", "public-address", HOURS_A_MONTH, f"{HOURS_A_MONTH} h, in use or not")


def _key(of: Charged) -> Lines:
    rotated = (
        "each of its first two rotations adds as much again" if of.props.get("enableKeyRotation") else "no rotation"
    )
    yield of.monthly("key", "kms-key", 1, rotated)
    said = "bucket keys keep them few; the first 20,000 of a month are free"
    yield of.by_use("requests", "kms-requests", 100, "million requests to keys", said)


def _alarm(of: Charged) -> Lines:
    fine = (number(of.props.get("period")) or 60) < 60
    metrics = max(1, len(listed(of.props.get("metricQueries"))))
    yield of.monthly(
        "alarm", "alarm-high-resolution" if fine else "alarm", metrics, "the first ten of an account are free"
    )


def _secret(of: Charged) -> Lines:
    yield of.monthly("secret", "secret", 1, "requests apart")


def _log_group(of: Charged) -> Lines:
    rare = of.props.get("logGroupClass") == "INFREQUENT_ACCESS"
    item = "logs-ingested-infrequent-access" if rare else "logs-ingested"
    said = "flow logs and logs of the control plane included, which cost less by the GB above 10 TB"
    yield of.by_use("ingestion", item, 100, "100 GB of logs written", said)
    days = number(of.props.get("retentionInDays"))
    kept = f"compressed; kept {days:g} days" if days else "compressed; kept for ever"
    yield of.by_use("storage", "logs-stored", 100, "100 GB of logs kept for a month", kept)


def _flow_log(of: Charged) -> Lines:
    if of.props.get("logDestinationType") == "s3":
        yield of.by_use("delivery", "flow-logs-to-s3", 100, "100 GB of flow logs to a bucket", "less above 10 TB")
    else:
        yield of.bare(Nature.FREE, "charged as what its log group takes in")


def _build(of: Charged) -> Lines:
    machine = word(mapping(of.props.get("environment")).get("computeType")).removeprefix("build_")
    said = "nothing while nothing is built; Linux on x86"
    yield of.by_use("builds", f"build-{machine}", 60, f"hour of building on {machine}", said)


def _addon(of: Charged) -> Lines:
    if "_" in word(of.props.get("addonName")):
        yield of.bare(Nature.UNPRICED, "an add-on of AWS Marketplace, whose seller sets the price")
    else:
        yield of.bare(Nature.FREE, "AWS's own add-on: free, and its pods run on nodes that are paid")


def _events(of: Charged) -> Lines:
    if of.props.get("eventBusName") in (None, "default"):
        yield of.bare(Nature.FREE, "events of AWS's own services on the default bus cost nothing")
    else:
        yield of.bare(Nature.UNPRICED, "events on a bus of one's own")


def _subscription(of: Charged) -> Lines:
    protocol = of.props.get("protocol")
    if protocol in ("email", "email-json"):
        said = "to mail addresses; the first 1,000 of a month are free"
        yield of.by_use("mail", "sns-mail", 1, "100,000 mails", said)
    elif protocol in ("sqs", "lambda"):
        yield of.bare(Nature.FREE, "delivery to a queue or a function costs nothing")
    else:
        yield of.bare(Nature.UNPRICED, "delivery by another way than mail or queue")


def _persistent_volume(of: Charged) -> Lines:
    yield of.bare(Nature.FREE, PAID_AS_ITSELF)


_RECKONED: Mapping[str, Callable[[Charged], Lines]] = {
    "aws:cloudwatch/logGroup:LogGroup": _log_group,
    "aws:cloudwatch/metricAlarm:MetricAlarm": _alarm,
    "aws:codebuild/project:Project": _build,
    "aws:ebs/volume:Volume": cost_nodes.volume,
    "aws:ec2/eip:Eip": _address,
    "aws:ec2/flowLog:FlowLog": _flow_log,
    "aws:ec2/natGateway:NatGateway": _nat,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:eks/cluster:Cluster": _cluster,
    "aws:eks/nodeGroup:NodeGroup": cost_nodes.node_group,
    "aws:fsx/lustreFileSystem:LustreFileSystem": _lustre,
    "aws:cloudwatch/eventRule:EventRule": _events,
    "aws:cloudwatch/eventTarget:EventTarget": _events,
    "aws:eks/addon:Addon": _addon,
    "aws:kms/key:Key": _key,
    "aws:sns/topicSubscription:TopicSubscription": _subscription,
    "aws:secretsmanager/secret:Secret": _secret,
    "kubernetes:core/v1:PersistentVolume": _persistent_volume,
    "kubernetes:core/v1:PersistentVolumeClaim": cost_nodes.claim,
    "kubernetes:storage.k8s.io/v1:StorageClass": cost_nodes.storage_class,
}
