"""Budgets in moto: changes, tags and the subscribers of notifications, which it lacks."""

from __future__ import annotations

import json
from typing import Any

from moto.budgets.exceptions import NotFoundException
from moto.budgets.models import Budget, BudgetsBackend
from moto.budgets.responses import BudgetsResponse
from moto.core.utils import unix_time

from trainyard.local.aws.moto_adapter.expectations import add, require_mentions, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(Budget.__init__, "self.budget = budget", "self.notifications", "details", "subscribers")
    require_mentions(BudgetsBackend.create_budget, "self.budgets[account_id][budget_name]")
    require_mentions(BudgetsResponse.create_budget, '_get_param("Budget")', "self.backend")


def install() -> None:
    """Add the missing operations."""
    wrap(BudgetsResponse, "create_budget", _with_tags)
    add(BudgetsResponse, "update_budget", _update_budget)
    add(BudgetsResponse, "describe_subscribers_for_notification", _describe_subscribers)
    add(BudgetsResponse, "list_tags_for_resource", _list_tags)
    add(BudgetsResponse, "tag_resource", _tag)
    add(BudgetsResponse, "untag_resource", _untag)


def _with_tags(moto_create: Any) -> Any:
    def create_budget(response: Any) -> str:
        answer = moto_create(response)
        tags = {tag["Key"]: tag["Value"] for tag in response._get_param("ResourceTags", [])}
        _budget(response, response._get_param("Budget")["BudgetName"]).resource_tags = tags
        return answer

    return create_budget


def _update_budget(response: Any) -> str:
    new = response._get_param("NewBudget")
    budget = _budget(response, new["BudgetName"])
    kept = {name: budget.budget[name] for name in ("TimePeriod", "CostTypes") if name in budget.budget}
    budget.budget = {**kept, **new, "LastUpdatedTime": unix_time()}
    return "{}"


def _describe_subscribers(response: Any) -> str:
    wanted = _identity(response._get_param("Notification"))
    for notification in _budget(response, response._get_param("BudgetName")).notifications:
        if _identity(notification.details) == wanted:
            return json.dumps({"Subscribers": notification.subscribers})
    raise NotFoundException("Unable to find the notification")


def _identity(details: dict[str, Any]) -> tuple[Any, ...]:
    kind = details.get("ThresholdType") or "PERCENTAGE"
    return (details["NotificationType"], details["ComparisonOperator"], float(details["Threshold"]), kind)


def _list_tags(response: Any) -> str:
    tags = _tagged(response).resource_tags
    return json.dumps({"ResourceTags": [{"Key": key, "Value": text} for key, text in tags.items()]})


def _tag(response: Any) -> str:
    _tagged(response).resource_tags |= {tag["Key"]: tag["Value"] for tag in response._get_param("ResourceTags")}
    return "{}"


def _untag(response: Any) -> str:
    for key in response._get_param("ResourceTagKeys"):
        _tagged(response).resource_tags.pop(key, None)
    return "{}"


def _tagged(response: Any) -> Any:
    return _budget(response, response._get_param("ResourceARN").split(":budget/", 1)[-1])


def _budget(response: Any, name: str) -> Any:
    account = response._get_param("AccountId") or response.current_account
    found = response.backend.budgets[account].get(name)
    if found is None:
        raise NotFoundException(f"Unable to get budget: {name} - the budget doesn't exist.")
    return found
