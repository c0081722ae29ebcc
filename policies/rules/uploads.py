"""What is uploaded is encrypted under the bucket's own key, whatever the uploader asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainyard.policies.aws import BUCKETS, split
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Context, Truth, UnknownOperatorError, holds
from trainyard.policies.iam.documents import ANYONE, Statement
from trainyard.policies.rule import Finding, Severity, each, stack_rule, unverified, violation
from trainyard.policies.values import UnverifiedError, Value

_SSE = split("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
_POLICIES = frozenset({"aws:s3/bucketPolicy:BucketPolicy"})
_ALGORITHM = "s3:x-amz-server-side-encryption"
_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
_CUSTOMER = "s3:x-amz-server-side-encryption-customer-algorithm"
_SOMEBODYS = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"

# What an uploader may ask for instead of the bucket's default.
_ASKED = (
    ("S3's own keys (AES256)", {_ALGORITHM: ("AES256",)}),
    ("somebody else's key", {_ALGORITHM: ("aws:kms",), _KEY: (_SOMEBODYS,)}),
    ("AWS's key for S3", {_ALGORITHM: ("aws:kms",)}),
    ("a key that he keeps himself (SSE-C)", {_CUSTOMER: ("AES256",)}),
)


@stack_rule(
    "s3-uploads-own-key",
    title="A bucket with an own key refuses uploads that ask for another",
    severity=Severity.MEDIUM,
    applies=BUCKETS,
    controls={"NIST 800-53": ("SC-12", "SC-28"), "ISO 27001": ("A.8.24",)},
    why=(
        "The bucket's key is only a default: a header of the upload puts another in its place. Under a key of his own "
        "an intruder takes the data hostage; under AWS's nobody can withdraw them."
    ),
    remedy="""
{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"{bucket_arn}/*", "Condition": {
    "Null": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "false"},                       # a header names a key
    "StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key_arn}}}           # modules/object_store.py
""",
)
def uploads_own_key(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    own_key = _has_own_key(bucket, graph)
    if own_key is False:
        return
    if own_key is None:
        yield unverified("which key the bucket encrypts with is not known yet")
        return
    found = graph.attached(bucket, _POLICIES, "bucket")
    arn = _arn(bucket)
    if not found.certain:
        if found.possible:
            yield unverified(f"whether {found.possible[0].name} is this bucket's policy is not known yet")
        else:
            yield violation("the bucket has no policy, so an upload may ask for any key")

    def check(policy: Value) -> Iterator[Finding]:
        denials = [one for one in documents.statements(policy) if one.effect == "Deny"]
        if open_to := [what for what, asked in _ASKED if not any(_refuses(one, asked, arn) for one in denials)]:
            yield violation(f"an upload may ask for {', or '.join(open_to)}", policy)

    yield from each([one["policy"] for one in found.certain], check)


def _arn(bucket: Resource) -> str:
    for name, before in (("arn", ""), ("bucket", "arn:aws:s3:::")):
        if bucket[name].present and bucket[name].known:
            return f"{before}{bucket[name].text()}"
    raise UnverifiedError(bucket["arn"], "what the policy covers cannot be told before this is known")


def _has_own_key(bucket: Resource, graph: Graph) -> bool | None:
    """Whether a key is named for the bucket; None while that is not known. That one has to be is another rule's."""
    found = graph.attached(bucket, _SSE, "bucket")
    for part in found.certain:
        for rule in part["rules"].items():
            default = rule["applyServerSideEncryptionByDefault"]
            if default["sseAlgorithm"].text() != "AES256" and default["kmsMasterKeyId"].raw not in (None, ""):
                return True
    return None if found.possible else False


def _refuses(statement: Statement, asked: Mapping[str, tuple[str, ...]], arn: str) -> bool:
    """Whether a denial meets everybody's upload of any object that asks for this."""
    if ANYONE not in statement.principals or not documents.grants(statement, "s3:PutObject"):
        return False
    if not any(documents.covers(one, f"{arn}/\x00") for one in statement.resources):
        return False
    context = Context({**asked, "aws:securetransport": ("true",), "s3:tlsversion": ("1.3",)})
    try:
        return all(
            holds(operator, key, values, context) is Truth.YES
            for operator, tests in statement.conditions.items()
            for key, values in tests.items()
        )
    except UnknownOperatorError:
        return False  # AWS would not take it, or it came later than this
