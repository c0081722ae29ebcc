"""Data sources of IAM roles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.account import Account


def roles(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`getRoles`: names and ARNs of the roles whose name matches, under a path; none being no error."""
    prefix = arguments.get("pathPrefix")
    request = {"PathPrefix": prefix} if prefix else {}
    found = account.call("iam", region, "list_roles", request, all_pages=True)["Roles"]
    pattern = arguments.get("nameRegex")
    kept = [role for role in found if not pattern or re.search(pattern, role["RoleName"])]
    return {
        **arguments,
        "id": region,
        "arns": [role["Arn"] for role in kept],
        "names": [role["RoleName"] for role in kept],
    }


INVOKES = {"aws:iam/getRoles:getRoles": roles}
