"""Keys open data in the jurisdiction of the data only: multi-Region keys and their replicas."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies import documents
from trainyard.policies.aws import KEYS
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.residency.channels import types_of
from trainyard.policies.residency.judging import judge_ways, rule_on, strictest_first
from trainyard.policies.residency.places import Place, classes_of, region_place
from trainyard.policies.rule import Finding, Severity, Verdict, stack_rule, unverified, violation
from trainyard.policies.rules.transfers import CONTROLS
from trainyard.policies.values import Value

_KEY_POLICY = "aws:kms/keyPolicy:KeyPolicy"
_ANYWHERE = Place("any region")
_UNBOUNDED = "no statement of its policy denies everyone kms:ReplicateKey by kms:ReplicaRegion"
_NOT_EQUAL = ("stringnotequals", "stringnotequalsifexists", "stringnotlike")


@stack_rule(
    "transfer-key",
    title="A key works only in the jurisdiction of the data that it opens",
    severity=Severity.HIGH,
    applies=KEYS | types_of("key"),
    controls=CONTROLS,
    why="A multi-Region key has the same key material wherever it is replicated to. Whoever may replicate it can open "
    "copies of the data there, and whether a key is multi-Region can't be changed later.",
    remedy="""
aws.kms.Key("data", multi_region=False)
# or, in the key's policy, the regions where replicas may be:
{"Sid": "ReplicasStay", "Effect": "Deny", "Principal": "*", "Action": "kms:ReplicateKey", "Resource": "*",
 "Condition": {"StringNotEquals": {"kms:ReplicaRegion": ["us-east-1", "us-west-2"]}}}
""",
)
def key(resource: Resource, graph: Graph) -> Iterator[Finding]:
    yield from judge_ways(resource, graph, "key")
    flag = resource["multiRegion"]
    if "/replica" in resource.type or _left_out(resource, flag) or not flag.flag():
        return
    regions = _replica_regions(resource, graph)
    places = [_ANYWHERE] if regions is None else [region_place(region, flag) for region in regions]
    for data_class in strictest_first(classes_of(resource, graph)):
        for place in places:
            ruling = rule_on(resource.environment, data_class, place)
            if ruling.verdict is Verdict.PASSED:
                continue
            reason = _UNBOUNDED if place is _ANYWHERE else ruling.reason
            text = (
                f"this multi-Region key of {data_class or 'unclassed'} data can be replicated to {place.name}: {reason}"
            )
            yield violation(text, flag) if ruling.verdict is Verdict.VIOLATION else unverified(text, flag)
            return


def _left_out(resource: Resource, flag: Value) -> bool:
    """Whether an unknown value is an output that the program did not set: such a key is no multi-Region key."""
    return not flag.known and "multiRegion" not in resource.property_dependencies


def _replica_regions(resource: Resource, graph: Graph) -> tuple[str, ...] | None:
    """The regions that the key's policies leave to replicas; None where they leave all."""
    attached = graph.attached(resource, {_KEY_POLICY}, "keyId")
    policies = [resource["policy"], *(one["policy"] for one in attached.certain)]
    for document in policies:
        if not document.known and not attached.certain and "policy" not in resource.property_dependencies:
            continue  # the account's default policy, which AWS writes
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
