"""Data of a class stays in its jurisdiction: copies, replicas, logs, backups, peerings, images, endpoints.

Which data may go where, and on which basis, is in the table of jurisdictions (policies/jurisdictions.yaml). Nothing
here is legal advice.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.residency.channels import types_of
from trainyard.policies.residency.flows import holds_data, reach
from trainyard.policies.residency.judging import judge_ways, rule_on, strictest_first, unverified_because
from trainyard.policies.residency.openings import POLICY_HOLDERS, opened_to
from trainyard.policies.residency.places import Place, Reader, classes_of, place_of
from trainyard.policies.rule import Finding, Severity, Verdict, stack_rule, unverified, violation

CONTROLS = {
    "NIST 800-53": ("SA-9(5)", "AC-4"),
    "ISO 27001": ("A.5.31", "A.5.34"),
    "AWS Control Tower": ("CT.MULTISERVICE.PV.1",),
    "UAE PDPL": ("art. 22", "art. 23"),
}


@stack_rule(
    "transfer-own-place",
    title="Data of a class lie where the law that binds them lets them lie",
    severity=Severity.CRITICAL,
    applies=holds_data,
    controls=CONTROLS,
    why="The region list of an environment is for all it has; which law binds the data goes by their class.",
    remedy="""
aws.s3.Bucket("datasets", tags={"data-class": "personal"},   # the class of what is inside
    opts=pulumi.ResourceOptions(provider=provider))           # a provider in a region of the data's jurisdiction
""",
)
def own_place(resource: Resource, graph: Graph) -> Iterator[Finding]:
    place = place_of(resource)
    at = resource["region"] if resource["region"].present else None
    for data_class in strictest_first(classes_of(resource, graph)):
        ruling = rule_on(resource.environment, data_class, place)
        if ruling.unread is not None:
            yield unverified_because(ruling.unread, ruling.unread.value, f"{data_class or 'its'} data")
        elif ruling.verdict is Verdict.UNVERIFIED:
            yield unverified(f"it lies in {place.name}: {ruling.reason}", at)
        elif ruling.verdict is Verdict.VIOLATION:
            yield violation(f"{data_class or 'its'} data lie in {place.name}: {ruling.reason}", at)
        if ruling.verdict is not Verdict.PASSED:
            return


@stack_rule(
    "transfer-replica",
    title="No replica, export or access point takes data out of their jurisdiction",
    severity=Severity.CRITICAL,
    applies=types_of("replica"),
    controls=CONTROLS,
    why="A replica is a second original: it lies under the law of where it is, and stays when the first is deleted.",
    remedy="""
aws.s3.BucketReplicationConfig("datasets-replica", bucket=datasets.id, role=role.arn, rules=[{
    "status": "Enabled",
    "destination": {"bucket": replica.arn},   # a bucket of this program, in a region of the same jurisdiction
}])
# or record the transfer under `transfers` in policies/jurisdictions.yaml, with its basis, owner and reference
""",
)
def replica(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "replica")


@stack_rule(
    "transfer-image",
    title="Images of containers and machines are copied and shared inside their jurisdiction only",
    severity=Severity.HIGH,
    applies=types_of("image"),
    controls=CONTROLS,
    why="An image carries what was built into it: code, weights, at times data. Its copy is a transfer of it all.",
    remedy="""
aws.ecr.ReplicationConfiguration("images", replication_configuration={"rules": [{
    "destinations": [{"region": "me-central-1", "registry_id": account}],   # a region of the same jurisdiction
}]})
aws.ec2.AmiCopy("nodes", source_ami_id=image, source_ami_region=region)   # no region=: it stays in the provider's
""",
)
def image(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "image")


@stack_rule(
    "transfer-backup",
    title="Backups and snapshots are copied and shared inside their jurisdiction only",
    severity=Severity.CRITICAL,
    applies=types_of("backup"),
    controls=CONTROLS,
    why="A backup holds everything that the original held, and outlives it. Copies are made by schedule, unseen.",
    remedy="""
aws.backup.Plan("backups", rules=[{
    "rule_name": "daily", "target_vault_name": vault.name,
    "copy_actions": [{"destination_vault_arn": second_vault.arn}],   # a vault in a region of the same jurisdiction
}])
""",
)
def backup(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "backup")


@stack_rule(
    "transfer-log",
    title="Logs, metrics and audit trails are delivered inside the jurisdiction of what they tell of",
    severity=Severity.HIGH,
    applies=types_of("log"),
    controls=CONTROLS,
    why="Logs name people, objects and prompts. A central log bucket abroad is the transfer that nobody thinks of.",
    remedy="""
aws.s3.BucketLogging("datasets-logging", bucket=datasets.id, target_bucket=logs.id, target_prefix="s3/")
# logs: a bucket, group or stream of this program, in a region of the same jurisdiction
""",
)
def log(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "log")


@stack_rule(
    "transfer-network",
    title="Peerings and endpoints join networks of one jurisdiction only",
    severity=Severity.HIGH,
    applies=types_of("network"),
    controls=CONTROLS,
    why="A peering is a private road out: what is read over it passes no gateway, and no bucket policy sees it.",
    remedy="""
aws.ec2.VpcPeeringConnection("peering", vpc_id=network.vpc_id, peer_vpc_id=other.vpc_id)   # no peer_region=
""",
)
def network(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "network")


@stack_rule(
    "transfer-repository",
    title="File systems load from and write to buckets of their own jurisdiction only",
    severity=Severity.CRITICAL,
    applies=types_of("repository"),
    controls=CONTROLS,
    why="What changes in the file system is written to its bucket by itself, and a bucket's name does not "
    "tell where the bucket is.",
    remedy="""
aws.fsx.DataRepositoryAssociation("runs", file_system_id=lustre.id, file_system_path="/runs",
    data_repository_path=checkpoints.bucket.apply(lambda name: f"s3://{name}/runs/"))   # a bucket of this program
""",
)
def repository(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "repository")


@stack_rule(
    "transfer-message",
    title="Events, notifications and build artifacts are sent inside their jurisdiction only",
    severity=Severity.HIGH,
    applies=types_of("message"),
    controls=CONTROLS,
    why="An event carries its payload along: names of objects, results, at times the data themselves.",
    remedy="""
aws.cloudwatch.EventTarget("notify", rule=rule.name, arn=queue.arn)   # a queue, topic or bus of the same jurisdiction
""",
)
def message(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "message")


@stack_rule(
    "transfer-edge",
    title="No cache or accelerator hands data to edge locations of other countries",
    severity=Severity.HIGH,
    applies=types_of("edge"),
    controls=CONTROLS,
    why="Edge locations keep and pass on data in the country of whoever asks; the origin's region says nothing of it.",
    remedy="""
aws.s3.BucketAccelerateConfiguration("transfer", bucket=datasets.id, status="Suspended")
# serve from the region itself: a load balancer or an endpoint in the VPC; tag data-class=public what is for everyone
""",
)
def edge(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "edge")


@stack_rule(
    "transfer-share",
    title="What is shared with another account, or opened to a network, stays in its jurisdiction",
    severity=Severity.HIGH,
    applies=types_of("share") | POLICY_HOLDERS,
    controls=CONTROLS,
    why="Another account keeps what it read where it likes. A policy that names a region or network abroad says where.",
    remedy="""
# policies/jurisdictions.yaml: what is known of the account that it is shared with
accounts: {"111122223333": AE}
# and in a bucket's policy, the networks and regions of this program only:
"Condition": {"StringEquals": {"aws:SourceVpc": network.vpc_id}}
""",
)
def share(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "share")
    if resource.type in POLICY_HOLDERS:
        for at, place in opened_to(resource, graph):
            for data_class in strictest_first(_classes_behind(resource, graph)):
                ruling = rule_on(resource.environment, data_class, place)
                text = f"this policy opens {data_class or 'unclassed'} data to {place.name}: {ruling.reason}"
                if ruling.verdict is not Verdict.PASSED:
                    yield violation(text, at) if ruling.verdict is Verdict.VIOLATION else unverified(text, at)
                    break


def _classes_behind(holder: Resource, graph: Graph) -> frozenset[str]:
    """The classes of the bucket or access point that a policy is for; of the whole stack where it can't be told."""
    behind = Reader(holder, graph).resource(holder["bucket"])
    return classes_of(behind or holder, graph)


@stack_rule(
    "transfer-reach",
    title="Data cannot leave their jurisdiction in several steps either",
    severity=Severity.CRITICAL,
    applies=holds_data,
    controls=CONTROLS,
    why="Each step may be right for what lies there by its own tag, and the way as a whole still leads data abroad: a "
    "bucket of personal data is logged to one of internal data, and that one is copied.",
    remedy="""
aws.s3.Bucket("logs", tags={"data-class": "personal"})   # as strict as what flows into it, and then without the copy
""",
)
def transitive(resource: Resource, graph: Graph) -> Iterator[Finding]:
    ways = [one for one in reach(resource, graph) if one.before is not None or not one.certain]
    if not ways:
        return
    for data_class in strictest_first(classes_of(resource, graph)):
        for one in ways:
            ruling = rule_on(resource.environment, data_class, one.place)
            if ruling.verdict is Verdict.PASSED:
                continue
            text = f"{data_class or 'its'} data can get to {one.place.name}: {one.explained(resource)}. {ruling.reason}"
            if ruling.verdict is Verdict.VIOLATION:
                yield violation(text) if one.certain else unverified(f"it can't be verified yet whether {text}")
            elif not _reported(one.step.way.sources, one.place, graph):
                yield unverified(text)


def _reported(sources: tuple[Resource, ...], place: Place, graph: Graph) -> bool:
    """Whether the rule on the last way says already, of what goes it first, that its end can't be verified."""
    return any(
        rule_on(source.environment, data_class, place).verdict is not Verdict.PASSED
        for source in sources
        for data_class in strictest_first(classes_of(source, graph))
    )
