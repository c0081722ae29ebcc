"""What `trainyard bootstrap` makes, step by step. Every step looks first and may be run again: it goes on where the
last run was broken off, repairs its own settings, leaves what is right untouched, and never deletes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainyard.cli.aws_session import Account, AccountError
from trainyard.cli.bootstrap import bucket, documents
from trainyard.cli.bootstrap.settling import Setting, always, or_none, settle


@dataclass(frozen=True)
class Plan:
    """Names of what an environment's pipeline stands on."""

    account: Account
    environment: str
    tags: dict[str, str]
    repository: str | None

    @property
    def name(self) -> str:
        return f"trainyard-{self.environment}"

    @property
    def bucket(self) -> str:
        """Names of buckets are shared by all accounts, so the account's number stands in it."""
        return f"{self.name}-state-{self.account.id}"

    @property
    def key_alias(self) -> str:
        return f"alias/{self.name}-state"

    @property
    def provider_arn(self) -> str:
        return f"arn:{self.account.partition}:iam::{self.account.id}:oidc-provider/{documents.OIDC_HOST}"


@dataclass(frozen=True)
class Done:
    """One thing that stands now."""

    what: str
    id: str
    made: bool
    """False where it stood before."""
    repaired: tuple[str, ...] = ()
    """Names of its settings that were not as they should be, where it stood before."""


Tell = Callable[[Done], None]


def run(plan: Plan, tell: Tell) -> list[Done]:
    """Make everything, telling each thing as it stands."""
    done: list[Done] = []

    def keep(one: Done) -> Done:
        done.append(one)
        tell(one)
        return one

    key = keep(state_key(plan))
    keep(state_bucket(plan, key.id))
    if plan.repository is not None:
        keep(identity_provider(plan))
        for role in ci_roles(plan, key.id):
            keep(role)
    return done


def state_key(plan: Plan) -> Done:
    """The key of the state and of the secrets in it. Raises `AccountError` where one stands that cannot be used."""
    kms = plan.account.client("kms")
    found = or_none(lambda: kms.describe_key(KeyId=plan.key_alias)["KeyMetadata"], "NotFoundException")
    named = found is not None
    found = found or _nameless_key(plan, kms)
    if found is not None and found["KeyState"] != "Enabled":
        raise AccountError(
            f"the key {found['Arn']} ({plan.key_alias}) is {found['KeyState']}, and a state under it cannot be read: "
            "`aws kms cancel-key-deletion` and `aws kms enable-key` bring it back"
        )
    made = found is None
    if found is None:
        found = kms.create_key(
            Description=_description(plan),
            Policy=json.dumps(documents.key_policy(plan.account.partition, plan.account.id)),
            Tags=[{"TagKey": key, "TagValue": value} for key, value in plan.tags.items()],
        )["KeyMetadata"]
    if not named:
        kms.create_alias(AliasName=plan.key_alias, TargetKeyId=found["KeyId"])
    rotation = Setting(
        "rotation",
        lambda: kms.get_key_rotation_status(KeyId=found["KeyId"])["KeyRotationEnabled"],
        always(True),
        lambda _: kms.enable_key_rotation(KeyId=found["KeyId"]),
    )
    return _done("key of the state", found["Arn"], made, settle([rotation]))


def _description(plan: Plan) -> str:
    return f"Pulumi state of {plan.name}, and the secrets in it"


def _nameless_key(plan: Plan, kms: Any) -> dict[str, Any] | None:
    """The key that a run made which was broken off before it gave the key its name."""
    for page in kms.get_paginator("list_keys").paginate():
        for one in page["Keys"]:
            found = or_none(
                lambda key=one: kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"], "AccessDeniedException"
            )
            if found is None or found.get("Description") != _description(plan) or found["KeyState"] != "Enabled":
                continue
            if not kms.list_aliases(KeyId=found["KeyId"])["Aliases"]:
                return found
    return None


def state_bucket(plan: Plan, key_arn: str) -> Done:
    """The bucket of the state, in the environment's own region: a state holds what the data is called and where."""
    s3 = plan.account.client("s3")
    made = bucket.ensure(s3, plan.account, plan.bucket)
    repaired = settle(bucket.settings(s3, plan.account, plan.bucket, key_arn, plan.tags))
    return _done("bucket of the state", plan.bucket, made, repaired)


def identity_provider(plan: Plan) -> Done:
    """GitHub as an identity provider: one per account, shared by its environments."""
    iam = plan.account.client("iam")
    arn = plan.provider_arn
    found = or_none(lambda: iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn), "NoSuchEntity")
    if found is None:
        iam.create_open_id_connect_provider(
            Url=f"https://{documents.OIDC_HOST}", ClientIDList=[documents.OIDC_AUDIENCE]
        )
    elif documents.OIDC_AUDIENCE not in found["ClientIDList"]:
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=documents.OIDC_AUDIENCE)
        return Done("identity provider", arn, made=False, repaired=("audience",))
    return Done("identity provider", arn, made=found is None)


def ci_roles(plan: Plan, key_arn: str) -> list[Done]:
    """Two roles: pull requests may look, runs in the GitHub environment of the same name may deploy."""
    account = plan.account
    managed = f"arn:{account.partition}:iam::aws:policy"
    return [
        _role(
            plan,
            f"{plan.name}-ci-preview",
            f"repo:{plan.repository}:pull_request",
            f"{managed}/ReadOnlyAccess",
            documents.preview_policy(account.partition, plan.bucket, key_arn),
        ),
        _role(
            plan,
            f"{plan.name}-ci-deploy",
            f"repo:{plan.repository}:environment:{plan.environment}",
            f"{managed}/PowerUserAccess",
            documents.deploy_policy(account.partition, account.id, account.region, plan.bucket, key_arn, plan.name),
        ),
    ]


def _role(plan: Plan, name: str, subject: str, managed_policy: str, policy: documents.Document) -> Done:
    iam = plan.account.client("iam")
    trust = documents.trust(plan.provider_arn, subject)
    found = or_none(lambda: iam.get_role(RoleName=name)["Role"], "NoSuchEntity")
    made = found is None
    if found is None:
        found = iam.create_role(
            RoleName=name,
            Description=f"Pipeline of {plan.name}: {subject}",
            AssumeRolePolicyDocument=json.dumps(trust),
            MaxSessionDuration=2 * 3600,  # an update that makes a cluster and a file system takes most of an hour
            Tags=[{"Key": key, "Value": value} for key, value in plan.tags.items()],
        )["Role"]

    def attached() -> list[str]:
        pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
        return [one["PolicyArn"] for page in pages for one in page["AttachedPolicies"]]

    settings = (
        Setting(
            "trust",
            lambda: found["AssumeRolePolicyDocument"],
            lambda _: trust,  # exactly: a trust that says more lets others in
            lambda _: iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust)),
        ),
        Setting(
            "managed policy",
            lambda: managed_policy in attached(),
            always(True),
            lambda _: iam.attach_role_policy(RoleName=name, PolicyArn=managed_policy),
        ),
        Setting(
            "own policy",
            lambda: (
                (answer := or_none(lambda: iam.get_role_policy(RoleName=name, PolicyName="trainyard"), "NoSuchEntity"))
                and answer["PolicyDocument"]
            ),
            lambda _: policy,
            lambda _: iam.put_role_policy(RoleName=name, PolicyName="trainyard", PolicyDocument=json.dumps(policy)),
        ),
    )
    return _done("role of the pipeline", found["Arn"], made, settle(settings))


def _done(what: str, identity: str, made: bool, written: tuple[str, ...]) -> Done:
    return Done(what, identity, made, () if made else written)
