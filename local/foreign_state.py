"""A state that was exported elsewhere, made fit to be the base of a preview in a throw-away account.

Nothing of the place it comes from is reached: what stands there is taken from the state as it was exported. Its account
becomes the emulated one, since the program would otherwise seem to move everything from one account to another; its
cluster's address leads nowhere; its secrets, which only their own key opens, become placeholders.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from trainyard.local.engine import ACCOUNT_ID
from trainyard.local.shown_values import SECRET
from trainyard.policies.wire import SIGNATURE

NOWHERE = "https://127.0.0.1:9"
"""The discard port: refused at once."""

_ACCOUNT_IN_ARN = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:(\d{12}):")
_CLUSTER = re.compile(r"https://[A-Za-z0-9]+\.[a-z0-9]+\.[a-z0-9-]+\.eks\.amazonaws\.com(?:\.cn)?")


class ForeignStateError(ValueError):
    """The file is no exported state, or that of something else."""

    exit_status = 2


def read(text: str, project: str, environment: str) -> dict[str, Any]:
    """The export in `text`, fit for the emulated account. Raises `ForeignStateError`."""
    try:
        export = json.loads(text)
    except ValueError as wrong:
        raise ForeignStateError(f"this is no exported state: {wrong} (make one: pulumi stack export)") from None
    resources = (export.get("deployment") or {}).get("resources") if isinstance(export, dict) else None
    if not isinstance(resources, list) or not resources:
        raise ForeignStateError("this is no exported state: it has no deployment.resources (pulumi stack export)")
    if not all(isinstance(one, dict) and isinstance(one.get("urn"), str) for one in resources):
        raise ForeignStateError("this is no exported state: its deployment.resources is no list of resources")
    _same_project(resources, project)
    if account := account_of(resources):
        text = text.replace(account, ACCOUNT_ID)
    export = _opened(json.loads(_CLUSTER.sub(NOWHERE, text)))
    deployment = export["deployment"]
    deployment.pop("pending_operations", None)
    deployment.pop("secrets_providers", None)
    return _of_stack(export, environment)


def of_account(export: Mapping[str, Any], account: str | None) -> dict[str, Any]:
    """What `read` gave, as of an emulated account with this id; None: the emulation's own."""
    return json.loads(json.dumps(export).replace(ACCOUNT_ID, account or ACCOUNT_ID))


def account_of(resources: list[Mapping[str, Any]]) -> str | None:
    """The account that most ARNs are of."""
    found = Counter(
        match[1]
        for one in resources
        if isinstance(arn := (one.get("outputs") or {}).get("arn"), str) and (match := _ACCOUNT_IN_ARN.match(arn))
    )
    return found.most_common(1)[0][0] if found else None


def _same_project(resources: list[Mapping[str, Any]], project: str) -> None:
    named = {str(one.get("urn", "")).split("::")[1] for one in resources if str(one.get("urn", "")).count("::") >= 3}
    if named != {project}:
        raise ForeignStateError(f"this is a state of {', '.join(sorted(named)) or 'nothing'}, not of {project}")


def _of_stack(export: dict[str, Any], environment: str) -> dict[str, Any]:
    """Under the name that the stack has here."""
    first = str(export["deployment"]["resources"][0]["urn"])
    before = first.partition("::")[0]
    if before == f"urn:pulumi:{environment}":
        return export
    text = json.dumps(export).replace(f"{before}::", f"urn:pulumi:{environment}::")
    return json.loads(text)


def _opened(value: Any) -> Any:
    if isinstance(value, Mapping):
        if SIGNATURE in value and "ciphertext" in value:
            return {SIGNATURE: value[SIGNATURE], "plaintext": json.dumps(SECRET)}
        return {key: _opened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_opened(item) for item in value]
    return value
