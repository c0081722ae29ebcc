"""The provider's methods, free of gRPC: configuration, and each resource operation for the row its type has."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.local.aws import invokes
from trainyard.local.aws.account import Account, endpoint_from_environment
from trainyard.local.aws.check import CheckRequest, check
from trainyard.local.aws.diff import Difference, diff
from trainyard.local.aws.engine import Engine
from trainyard.local.aws.errors import ProviderError
from trainyard.local.aws.naming import Autonaming
from trainyard.local.aws.noted import row_or_note
from trainyard.local.aws.row import Problem, Row
from trainyard.local.aws.values import UNKNOWN, has_unknown

_WITHOUT_EFFECT = frozenset(
    [
        "accessKey",
        "secretKey",
        "token",
        "profile",
        "sharedConfigFiles",
        "sharedCredentialsFiles",
        "skipCredentialsValidation",
        "skipMetadataApiCheck",
        "skipRegionValidation",
        "skipRequestingAccountId",
        "maxRetries",
        "retryMode",
        "s3UsePathStyle",
        "useDualstackEndpoint",
        "useFipsEndpoint",
        "insecure",
        "version",
        "pluginDownloadURL",
        "endpoints",
    ]
)
"""Settings about how to reach a real account: accepted, since programs have them, and of no meaning here."""
_USED = frozenset({"region", "defaultTags", "allowedAccountIds", "forbiddenAccountIds"})


@dataclass(frozen=True)
class Configuration:
    """What the program's `aws.Provider` says; `region` and `default_tags` may be `UNKNOWN` in a preview."""

    region: Any
    default_tags: Any = field(default_factory=dict)
    allowed_account_ids: tuple[str, ...] = ()
    forbidden_account_ids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Configuration:
        """Read the provider's properties; the engine sends structured ones as JSON text."""
        region = properties.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        default_tags = _decoded(properties.get("defaultTags"))
        tags = default_tags if default_tags is UNKNOWN else (default_tags or {}).get("tags") or {}
        return cls(
            region,
            tags,
            tuple(_decoded(properties.get("allowedAccountIds")) or ()),
            tuple(_decoded(properties.get("forbiddenAccountIds")) or ()),
        )


def check_configuration(properties: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the properties of the program's `aws.Provider`."""
    problems = [
        (name, "is not emulated: the emulated account has no such setting; see trainyard/local/aws/provider.py")
        for name, value in properties.items()
        if name not in _USED | _WITHOUT_EFFECT
        and not name.startswith("__")
        and _decoded(value) not in (None, "", [], {})
    ]
    if Configuration.parse(properties).region is None:
        problems.append(("region", "is missing: give the provider a region, or set AWS_REGION"))
    return problems


def configuration_replaces(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The provider's properties whose change moves every resource elsewhere."""
    before, after = Configuration.parse(old).region, Configuration.parse(new).region
    return ["region"] if before != after and after is not UNKNOWN else []


class Provider:
    """One configured provider: the program's resources against one emulated account."""

    def __init__(self, configuration: Configuration, account: Account) -> None:
        self.configuration = configuration
        self.account = account
        region = configuration.region
        tags = configuration.default_tags
        self._engine = Engine(
            account, region if isinstance(region, str) else "", tags if isinstance(tags, dict) else {}
        )

    @classmethod
    def configure(cls, properties: Mapping[str, Any]) -> Provider:
        """Connect to the account that the environment names; `ProviderError` if it is not emulated or not allowed."""
        configuration = Configuration.parse(properties)
        provider = cls(configuration, Account(endpoint_from_environment()))
        allowed, forbidden = configuration.allowed_account_ids, configuration.forbidden_account_ids
        if allowed or forbidden:
            account_id = provider.account.id
            if (allowed and account_id not in allowed) or account_id in forbidden:
                raise ProviderError(
                    f"AWS account ID not allowed: {account_id}. The provider may work in "
                    f"{', '.join(allowed) or 'others'} alone (allowed_account_ids, which an environment's setting "
                    "account_id gives): log in to that account, or correct the setting"
                )
        return provider

    def check(
        self,
        token: str,
        name: str,
        inputs: Mapping[str, Any],
        old_inputs: Mapping[str, Any],
        seed: bytes = b"",
        autonaming: Autonaming | None = None,
    ) -> tuple[dict[str, Any], list[Problem]]:
        """See `check.check`; with the provider's region and default tags."""
        request = CheckRequest(
            name, inputs, old_inputs, seed, autonaming, self.configuration.region, self.configuration.default_tags
        )
        return check(row_or_note(token), request)

    def diff(
        self, token: str, old_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> Difference:
        """See `diff.diff`."""
        return diff(row_or_note(token), old_inputs, old_outputs, inputs)

    def create(self, token: str, inputs: Mapping[str, Any], *, preview: bool) -> tuple[str, dict[str, Any]]:
        """Make a resource; in a preview the ID is empty, which the engine takes for unknown."""
        row = row_or_note(token)
        if preview:
            return "", self._engine.preview_create(row, inputs)
        return self._engine.create(row, _known(row, inputs))

    def update(
        self,
        token: str,
        resource_id: str,
        inputs: Mapping[str, Any],
        old_inputs: Mapping[str, Any],
        old_outputs: Mapping[str, Any],
        *,
        preview: bool,
    ) -> dict[str, Any]:
        """Change a resource; its new outputs."""
        row = row_or_note(token)
        if preview:
            return self._engine.preview_update(row, inputs, old_inputs, old_outputs)
        return self._engine.update(row, resource_id, _known(row, inputs), old_inputs, old_outputs)

    def read(
        self, token: str, resource_id: str, old_outputs: Mapping[str, Any], old_inputs: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
        """ID, inputs and outputs as the account has them; `None` where the resource is gone."""
        return self._engine.read(row_or_note(token), resource_id, old_outputs, old_inputs)

    def delete(
        self, token: str, resource_id: str, old_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any]
    ) -> None:
        """Delete a resource."""
        self._engine.delete(row_or_note(token), resource_id, old_inputs, old_outputs)

    def invoke(self, token: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """A data source."""
        return invokes.invoke(self.account, self.configuration.region, token, arguments)


def _known(row: Row, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    if has_unknown(inputs):
        raise ProviderError(f"{row.token}: inputs are still unknown outside a preview")
    return inputs


def _decoded(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
