"""A program works in the account that it names, and opens nothing to one that nobody named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from trainyard.policies.accounts import Trusted, account_of, not_known_to_be_own, own_accounts, structured, trusted
from trainyard.policies.aws import BUCKETS
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import ANYONE, Statement
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.rules.regions import PROVIDERS
from trainyard.policies.values import Value, shown

# Resources with a policy that says who may use something, and the property that holds it.
_POLICIES = {
    "aws:backup/vaultPolicy:VaultPolicy": "policy",
    "aws:cloudwatch/eventBusPolicy:EventBusPolicy": "policy",
    "aws:cloudwatch/logDestinationPolicy:LogDestinationPolicy": "accessPolicy",
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": "policyDocument",
    "aws:dynamodb/resourcePolicy:ResourcePolicy": "policy",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "policy",
    "aws:ecr/registryPolicy:RegistryPolicy": "policy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:efs/fileSystemPolicy:FileSystemPolicy": "policy",
    "aws:iam/role:Role": "assumeRolePolicy",
    "aws:kms/externalKey:ExternalKey": "policy",
    "aws:kms/key:Key": "policy",
    "aws:kms/keyPolicy:KeyPolicy": "policy",
    "aws:kms/replicaKey:ReplicaKey": "policy",
    "aws:s3/accessPoint:AccessPoint": "policy",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:s3control/accessPointPolicy:AccessPointPolicy": "policy",
    "aws:secretsmanager/secret:Secret": "policy",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "policy",
    "aws:sns/topic:Topic": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    "aws:sqs/queue:Queue": "policy",
    "aws:sqs/queuePolicy:QueuePolicy": "policy",
    **dict.fromkeys(BUCKETS, "policy"),
}
# Of these, those that have a policy of AWS's or none where the program gives none.
_HAVE_A_DEFAULT = frozenset(
    {
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "aws:kms/externalKey:ExternalKey",
        "aws:kms/key:Key",
        "aws:kms/replicaKey:ReplicaKey",
        "aws:s3/accessPoint:AccessPoint",
        "aws:secretsmanager/secret:Secret",
        "aws:sns/topic:Topic",
        "aws:sqs/queue:Queue",
        *BUCKETS,
    }
)
# Resources that open one thing to somebody, and the properties that name him.
_DIRECT = {
    "aws:cloudwatch/eventPermission:EventPermission": ("principal",),
    "aws:ec2/amiLaunchPermission:AmiLaunchPermission": ("accountId", "group", "organizationArn"),
    "aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission": ("accountId",),
    "aws:ec2/vpcEndpointServiceAllowedPrinciple:VpcEndpointServiceAllowedPrinciple": ("principalArn",),
    "aws:kms/grant:Grant": ("granteePrincipal", "retiringPrincipal"),
    "aws:lambda/permission:Permission": ("principal", "sourceAccount", "principalOrgId"),
    "aws:ram/principalAssociation:PrincipalAssociation": ("principal",),
    "aws:rds/snapshot:Snapshot": ("sharedAccounts",),
}

# Condition keys whose values are accounts, or ARNs with one; and those whose values are organizations.
_ACCOUNT_KEYS = (
    "aws:principalaccount",
    "aws:principalarn",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceowner",
    "kms:calleraccount",
    "s3:dataaccesspointaccount",
)
_ORGANIZATION = re.compile(r"(?:arn:aws[a-z-]*:organizations::\d{12}:\w+/)?(o-[a-z0-9]{10,32})(?:/|$)")
_ORGANIZATION_KEYS = ("aws:principalorgid", "aws:principalorgpaths", "aws:sourceorgid", "aws:sourceorgpaths")


@resource_rule(
    "provider-names-its-account",
    title="A provider works in one account, which the program names",
    severity=Severity.HIGH,
    applies=PROVIDERS,
    controls={"NIST 800-53": ("AC-3", "CM-5"), "ISO 27001": ("A.5.15", "A.8.32")},
    why=(
        "Credentials lead to whichever account somebody logged in to last. Without the list an update makes a second "
        "platform in the wrong one, or takes the place of what stands there."
    ),
    remedy="""
trainyard:account_id: "111122223333"                     # in the environment's file, or in a program of one's own:
aws.Provider("aws", region=region, allowed_account_ids=["111122223333"])
""",
)
def provider_account(provider: Resource) -> Iterator[Finding]:
    allowed = provider["allowedAccountIds"]
    named = structured(allowed)
    if not named:
        yield violation("it works in whichever account the credentials lead to", allowed)
    elif len(named) > 1:
        yield violation(
            f"it may work in {len(named)} accounts, so that one environment's update can land in another", allowed
        )


@stack_rule(
    "policy-known-accounts",
    title="What is opened to another account is opened to one that compliance named",
    severity=Severity.HIGH,
    applies=frozenset({*_POLICIES, *_DIRECT}),
    controls={
        "FSBP": ("S3.6",),
        "NIST 800-53": ("AC-3", "AC-4", "AC-20"),
        "ISO 27001": ("A.5.14", "A.5.19", "A.8.3"),
        "UAE PDPL": ("art. 22", "art. 23"),
    },
    why=(
        "Another account has its own administrators, logs and law. A mistyped digit is a stranger's account, "
        "and what he copied cannot be called back."
    ),
    remedy="""
# policies/trusted_accounts.yaml, reviewed by compliance
accounts:
  "111122223333": {owner: Security team, purpose: reads the audit logs of every environment}
""",
)
def known_accounts(holder: Resource, graph: Graph) -> Iterator[Finding]:
    own, known = own_accounts(graph), trusted()
    if holder.type in _DIRECT:
        named = [value for name in _DIRECT[holder.type] for value in _each_name(holder[name])]
        yield from each(named, lambda value: _judge(value.text() or "", value, own, known))
        return
    document = _policy(holder)
    if document is not None:
        for statement in documents.statements(document):
            if statement.effect == "Allow":
                for name in dict.fromkeys(_named(statement)):
                    yield from _judge(name, document, own, known)


def _policy(holder: Resource) -> Value | None:
    """The policy, if the program wrote one. A key or a topic reports AWS's default one, which names the account alone;
    while that is not known nothing was written."""
    name = _POLICIES[holder.type]
    return None if holder.type in _HAVE_A_DEFAULT and is_providers_choice(holder, name) else holder[name]


def _each_name(value: Value) -> Iterable[Value]:
    return value.items() if isinstance(value.raw, list) else [value]


def _named(statement: Statement) -> Iterator[str]:
    """Whoever a statement lets in: those it names, and those by whom conditions narrow it. `*` with no condition is
    another rule's matter."""
    kinds = statement.principals_by_kind
    yield from (name for name in kinds.get("aws", ()) if name != ANYONE)
    yield from (name for name in kinds.get("federated", ()) if name.startswith("arn:"))
    yield from kinds.get("canonicaluser", ())
    yield from documents.pinned(statement, *_ACCOUNT_KEYS)
    yield from documents.pinned(statement, *_ORGANIZATION_KEYS)


def _judge(name: str, at: Value, own: frozenset[str], known: Trusted) -> Iterator[Finding]:
    if not name or name.endswith((".amazonaws.com", ".amazonaws.com.cn")) or _has_no_account(name):
        return
    account, organization = account_of(name), _organization(name)
    if name in (ANYONE, "all"):
        yield violation("it is opened to every AWS account", at)
    elif organization:
        if organization not in known.organizations:
            yield violation(f"it is opened to {organization}, {_NOT_NAMED}", at)
    elif account is None:
        yield unverified(f"which account {shown(name)!r} belongs to cannot be told; write its ARN", at)
    elif account not in own | known.accounts:
        if own:
            yield violation(f"it is opened to account {account}, {_NOT_NAMED}", at)
        else:
            yield unverified(not_known_to_be_own(account), at)


_NOT_NAMED = "which policies/trusted_accounts.yaml does not name"


def _organization(name: str) -> str | None:
    """The organization in an id, in an ARN of AWS Organizations or in a path such as `o-abcdefghij/r-ab12/*`."""
    found = _ORGANIZATION.match(name)
    return found[1] if found else None


def _has_no_account(name: str) -> bool:
    """Whether it is an ARN that shows no account, as a bucket's, or one of AWS's own principals."""
    parts = name.split(":", 5)
    return len(parts) == 6 and parts[4] in ("", "aws", "cloudfront")
