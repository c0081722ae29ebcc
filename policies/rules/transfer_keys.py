"""Keys open data in the jurisdiction of the data only: multi-Region keys and their replicas."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import KEYS
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.residency.channels import types_of
from trainyard.policies.residency.judging import judge_ways, may_stand, rule_on, strictest_first
from trainyard.policies.residency.places import Place, classes_of, region_place
from trainyard.policies.rule import Finding, Severity, Verdict, resource_rule, stack_rule, unverified, violation
from trainyard.policies.rules.transfers import CONTROLS
from trainyard.policies.values import Value

_ANYWHERE = Place("any region", anywhere=True)
_UNBOUNDED = "no statement of its policy denies everyone kms:ReplicateKey by kms:ReplicaRegion"
_NOT_EQUAL = ("stringnotequals", "stringnotequalsifexists", "stringnotlike")


@stack_rule(
    "transfer-key",
    title="A key is replicated inside the jurisdiction of the data that it opens only",
    severity=Severity.HIGH,
    applies=types_of("key"),
    controls=CONTROLS,
    why="A replica has the key material of the first: whoever may use it opens copies of the data where they lie.",
    remedy="""
aws.kms.ReplicaKey("second", primary_key_arn=key.arn, region="us-west-2")   # a region of the same jurisdiction
""",
)
def replica_key(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "key")


@resource_rule(
    "transfer-multi-region-key",
    title="A multi-Region key says in which regions replicas may be, and those are of its data's jurisdiction",
    severity=Severity.HIGH,
    applies=KEYS - types_of("key"),
    controls=CONTROLS,
    why="A multi-Region key can be replicated to any region by whoever has the permission, and whether a key is "
    "multi-Region can't be changed later.",
    remedy="""
aws.kms.Key("data", multi_region=False)
# or, in the policy that is written with the key, the regions where replicas may be:
{"Sid": "ReplicasStay", "Effect": "Deny", "Principal": "*", "Action": "kms:ReplicateKey", "Resource": "*",
 "Condition": {"StringNotEquals": {"kms:ReplicaRegion": ["us-east-1", "us-west-2"]}}}
""",
)
def multi_region_key(key: Resource) -> Iterator[Finding]:
    flag = key["multiRegion"]
    if not flag.flag():
        return
    regions = _replica_regions(key["policy"])
    places = [_ANYWHERE] if regions is None else [region_place(region, flag) for region in regions]
    for data_class in strictest_first(classes_of(key, Graph([key]))):
        for place in places:
            ruling = rule_on(key.environment, data_class, place)
            if ruling.verdict is Verdict.PASSED:
                continue
            reason = f"{_UNBOUNDED}{may_stand(key.environment)}" if place is _ANYWHERE else ruling.reason
            text = (
                f"this multi-Region key of {data_class or 'unclassed'} data can be replicated to {place.name}: {reason}"
            )
            yield violation(text, flag) if ruling.verdict is Verdict.VIOLATION else unverified(text, flag)
            return


def _replica_regions(document: Value) -> tuple[str, ...] | None:
    """The regions that a key's policy leaves to replicas; None where it leaves all."""
    for statement in documents.statements(document):
        if regions := _denied_but(statement):
            return regions
    return None


def _denied_but(statement: documents.Statement) -> tuple[str, ...]:
    """The regions where a statement does not deny replicas of the key; none where it is about something else."""
    actions = {action.lower() for action in statement.actions}
    if statement.effect != "Deny" or documents.ANYONE not in statement.principals or len(statement.conditions) != 1:
        return ()
    if not actions & {"kms:replicatekey", "kms:*", "*"}:
        return ()
    ((operator, tests),) = statement.conditions.items()
    if operator not in _NOT_EQUAL or set(tests) != {"kms:replicaregion"}:
        return ()
    return tests["kms:replicaregion"]
