"""ECR: repositories of images, their policies, and settings of the whole registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError, RefusedError
from trainyard.local.aws.fields import ID, Const, Each, Fact, Json, Object, OnlyOne, same
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by

_REPOSITORY = {"repositoryName": ID}
_GONE = ("RepositoryNotFoundException",)
_PAIRS = TagsField(key="Key", value="Value")


def _usable_key(context: Context) -> None:
    """ECR makes a grant on the key at once, so there has to be one, enabled and of this region."""
    for encryption in context.wanted.get("encryptionConfigurations") or ():
        key = encryption.get("kmsKey")
        if not key or context.id:
            continue
        try:
            state = context.call("describe_key", "kms", KeyId=key)["KeyMetadata"]["KeyState"]
        except AwsError as error:
            raise RefusedError(f"ECR cannot use the key {key}: {error}") from None
        if state != "Enabled":
            raise RefusedError(f"ECR cannot use the key {key}: it is {state}")


def _key_goes_with_kms(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for encryption in inputs.get("encryptionConfigurations") or ():
        if (
            isinstance(encryption, Mapping)
            and encryption.get("kmsKey")
            and encryption.get("encryptionType") == "AES256"
        ):
            yield "encryptionConfigurations", "has a kmsKey, which goes with the encryptionType KMS"


def _filters_go_with_exclusion(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    mutability, filters = inputs.get("imageTagMutability"), inputs.get("imageTagMutabilityExclusionFilters")
    if isinstance(mutability, str) and bool(filters) != mutability.endswith("_WITH_EXCLUSION"):
        yield "imageTagMutabilityExclusionFilters", "goes with MUTABLE_WITH_EXCLUSION or IMMUTABLE_WITH_EXCLUSION only"


def _repository() -> Row:
    mutability = {
        "imageTagMutability": "imageTagMutability",
        "imageTagMutabilityExclusionFilters": Each(
            "imageTagMutabilityExclusionFilters", same("filter", "filterType"), ordered=False
        ),
    }
    scanning = {"imageScanningConfiguration": Object("imageScanningConfiguration", same("scanOnPush"), unset={})}
    return Row(
        "aws:ecr/repository:Repository",
        service="ecr",
        cloudformation="AWS::ECR::Repository",
        id="repository.repositoryName",
        name=Name(prefix_property="", max_length=256, transform=str.lower),
        before=(_usable_key,),
        create=Call(
            "create_repository",
            {
                "repositoryName": "name",
                **mutability,
                **scanning,
                "encryptionConfiguration": OnlyOne("encryptionConfigurations", same("encryptionType", "kmsKey")),
            },
        ),
        settings=(
            Call("put_image_tag_mutability", {**_REPOSITORY, **mutability}),
            Call("put_image_scanning_configuration", {**_REPOSITORY, **scanning}),
        ),
        read=(
            Read(
                "describe_repositories",
                {"repositoryNames": [ID]},
                {
                    **mutability,
                    **scanning,
                    "encryptionConfiguration": OnlyOne("encryptionConfigurations", same("encryptionType", "kmsKey")),
                    "repositoryName": "name",
                    "repositoryArn": "arn",
                    "registryId": "registryId",
                    "repositoryUri": "repositoryUrl",
                },
                path="repositories[0]",
                gone=_GONE,
            ),
        ),
        delete=(Call("delete_repository", {**_REPOSITORY, "force": "forceDelete"}, ignore=_GONE),),
        tags=tagged_by(
            "tag_resource",
            "untag_resource",
            {"resourceArn": Fact("arn")},
            pair=("Key", "Value"),
            create={"tags": _PAIRS},
            listing=Read("list_tags_for_resource", {"resourceArn": "arn"}, {"tags": _PAIRS}),
        ),
        defaults={"imageTagMutability": "MUTABLE", "forceDelete": False},
        local=("forceDelete",),
        computed=("encryptionConfigurations", "encryptionConfigurations[].kmsKey", "imageScanningConfiguration"),
        replace_on=("encryptionConfigurations",),
        schema_names={"name": "RepositoryName"},
        unchecked=("encryptionConfigurations",),
        constraints=(_key_goes_with_kms, _filters_go_with_exclusion),
        notes=("images can be pushed through the API only; there is no registry to pull from",),
    )


def _policy(token: str, operation: str, parameter: str, gone: str) -> Row:
    verb = "set" if operation == "repository_policy" else "put"
    put = Call(f"{verb}_{operation}", {"repositoryName": "repository", parameter: Json("policy")})
    return Row(
        token,
        service="ecr",
        id="{repository}",
        create=put,
        update=(put,),
        read=(
            Read(
                f"get_{operation}",
                {"repositoryName": "repository"},
                {"registryId": "registryId", "repositoryName": "repository", parameter: Json("policy")},
                gone=(*_GONE, gone),
            ),
        ),
        delete=(Call(f"delete_{operation}", {"repositoryName": ID}, ignore=(*_GONE, gone)),),
        replace_on=("repository",),
    )


_RULES = Each(
    "rules",
    {
        "scanFrequency": "scanFrequency",
        "repositoryFilters": Each("repositoryFilters", same("filter", "filterType"), ordered=False),
    },
    ordered=False,
)
_PREFIX = {"ecrRepositoryPrefix": ID}
_NO_RULE = ("PullThroughCacheRuleNotFoundException",)


def _scan_type_has_its_frequencies(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for rule in inputs.get("rules") or ():
        if inputs.get("scanType") == "BASIC" and rule.get("scanFrequency") == "CONTINUOUS_SCAN":
            yield "rules", "have CONTINUOUS_SCAN, which goes with the scanType ENHANCED"


ROWS = (
    _repository(),
    _policy(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "lifecycle_policy",
        "lifecyclePolicyText",
        "LifecyclePolicyNotFoundException",
    ),
    _policy(
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        "repository_policy",
        "policyText",
        "RepositoryPolicyNotFoundException",
    ),
    Row(
        "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration",
        service="ecr",
        id="{account}",
        create=Call("put_registry_scanning_configuration", {"scanType": "scanType", "rules": _RULES}),
        update=(Call("put_registry_scanning_configuration", {"scanType": "scanType", "rules": _RULES}),),
        read=(
            Read(
                "get_registry_scanning_configuration",
                {},
                {"registryId": "registryId", "scanningConfiguration": {"scanType": "scanType", "rules": _RULES}},
            ),
        ),
        delete=(Call("put_registry_scanning_configuration", {"scanType": Const("BASIC"), "rules": Const([])}),),
        constraints=(_scan_type_has_its_frequencies,),
        notes=("one per account and region; deleting it puts BASIC scanning without rules back",),
    ),
    Row(
        "aws:ecr/pullThroughCacheRule:PullThroughCacheRule",
        service="ecr",
        cloudformation="AWS::ECR::PullThroughCacheRule",
        id="{ecrRepositoryPrefix}",
        create=Call(
            "create_pull_through_cache_rule",
            same(
                "credentialArn",
                "customRoleArn",
                "ecrRepositoryPrefix",
                "upstreamRegistryUrl",
                "upstreamRepositoryPrefix",
            ),
        ),
        update=(Call("update_pull_through_cache_rule", {**_PREFIX, **same("credentialArn", "customRoleArn")}),),
        read=(
            Read(
                "describe_pull_through_cache_rules",
                {"ecrRepositoryPrefixes": [ID]},
                same(
                    "credentialArn",
                    "customRoleArn",
                    "ecrRepositoryPrefix",
                    "registryId",
                    "upstreamRegistryUrl",
                    "upstreamRepositoryPrefix",
                ),
                path="pullThroughCacheRules[0]",
                gone=_NO_RULE,
            ),
        ),
        delete=(Call("delete_pull_through_cache_rule", _PREFIX, ignore=_NO_RULE),),
        computed=("upstreamRepositoryPrefix",),
        in_place=("credentialArn", "customRoleArn"),
        replace_on=("ecrRepositoryPrefix", "upstreamRegistryUrl", "upstreamRepositoryPrefix"),
        notes=("nothing is pulled",),
    ),
)
