"""Whether a KMS key lets a service in, for rows of operations that AWS refuses otherwise and the emulator does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.resource_policy import Request, evaluate


def why_key_is_closed(
    context: Context, key: str, *, service: str, actions: Sequence[str], values: Mapping[str, str]
) -> str:
    """Why `service` cannot use `key`; nothing if it can. `values` are condition keys of the service's request."""
    try:
        metadata = context.call("describe_key", "kms", KeyId=key)["KeyMetadata"]
        policy = context.call("get_key_policy", "kms", KeyId=metadata["KeyId"], PolicyName="default")["Policy"]
    except AwsError as error:
        return str(error)
    if metadata["KeyState"] != "Enabled":
        return f"the key is {metadata['KeyState']}"
    conditions = {"aws:SourceAccount": context.account.id, "aws:SecureTransport": "true", **values}
    for action in actions:
        decision = evaluate(policy, Request(service, action, metadata["Arn"], conditions))
        if not decision.allowed:
            return f"in the key's policy {decision.reason}"
    return ""
