"""ECR in moto: pull-through cache rules, which it lacks."""

from __future__ import annotations

import json
import time
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.ecr.models import ECRBackend
from moto.ecr.responses import ECRResponse

from trainyard.local.aws.moto_adapter.expectations import add, require_mentions

_PUBLIC = ("public.ecr.aws", "registry.k8s.io", "quay.io")
"""Upstream registries that need no credentials (ECR user guide, "Creating a pull through cache rule")."""
_ANSWERED = (
    "ecrRepositoryPrefix",
    "upstreamRegistryUrl",
    "upstreamRepositoryPrefix",
    "credentialArn",
    "customRoleArn",
    "createdAt",
    "registryId",
)


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(ECRBackend.__init__, "self.repositories", "self.registry_scanning_configuration")
    require_mentions(ECRResponse.describe_repositories, "self.ecr_backend", "_get_param(")


def install() -> None:
    """Add the operations on pull-through cache rules."""
    add(ECRResponse, "create_pull_through_cache_rule", _create_rule)
    add(ECRResponse, "describe_pull_through_cache_rules", _describe_rules)
    add(ECRResponse, "update_pull_through_cache_rule", _update_rule)
    add(ECRResponse, "delete_pull_through_cache_rule", _delete_rule)


def _rules(response: Any) -> dict[str, dict[str, Any]]:
    return response.ecr_backend.__dict__.setdefault("pull_through_cache_rules", {})


def _create_rule(response: Any) -> str:
    prefix, upstream = response._get_param("ecrRepositoryPrefix"), response._get_param("upstreamRegistryUrl")
    if prefix in _rules(response):
        raise JsonRESTError(
            "PullThroughCacheRuleAlreadyExistsException", f"A pull through cache rule with the prefix '{prefix}' exists"
        )
    credential = response._get_param("credentialArn")
    private_ecr = ".dkr.ecr." in upstream
    if upstream not in _PUBLIC and not private_ecr and not credential:
        raise JsonRESTError("InvalidParameterException", f"the upstream registry {upstream} needs a credentialArn")
    if credential and ":secret:ecr-pullthroughcache/" not in credential:
        raise JsonRESTError("InvalidParameterException", "the secret's name has to begin with ecr-pullthroughcache/")
    made = {
        "ecrRepositoryPrefix": prefix,
        "upstreamRegistryUrl": upstream,
        "upstreamRepositoryPrefix": response._get_param("upstreamRepositoryPrefix") or "ROOT",
        "credentialArn": credential,
        "customRoleArn": response._get_param("customRoleArn"),
        "registryId": response.current_account,
        "createdAt": time.time(),
    }
    _rules(response)[prefix] = made
    return _told(made)


def _describe_rules(response: Any) -> str:
    wanted = response._get_param("ecrRepositoryPrefixes")
    found = [_rule(response, prefix) for prefix in wanted or _rules(response)]
    return json.dumps({"pullThroughCacheRules": [json.loads(_told(rule)) for rule in found]})


def _update_rule(response: Any) -> str:
    rule = _rule(response, response._get_param("ecrRepositoryPrefix"))
    for name in ("credentialArn", "customRoleArn"):
        if response._get_param(name):
            rule[name] = response._get_param(name)
    return _told(rule)


def _delete_rule(response: Any) -> str:
    rule = _rule(response, response._get_param("ecrRepositoryPrefix"))
    del _rules(response)[rule["ecrRepositoryPrefix"]]
    return _told(rule)


def _rule(response: Any, prefix: str) -> dict[str, Any]:
    found = _rules(response).get(prefix)
    if found is None:
        raise JsonRESTError(
            "PullThroughCacheRuleNotFoundException", f"There is no pull through cache rule with the prefix '{prefix}'"
        )
    return found


def _told(rule: dict[str, Any]) -> str:
    return json.dumps({name: rule[name] for name in _ANSWERED if rule[name] is not None})
