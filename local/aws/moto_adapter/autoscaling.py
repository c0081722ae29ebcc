"""Scheduled actions of Auto Scaling in moto, which knows them by their name alone and makes them for no group too."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeScheduledAction

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap

_lock = threading.Lock()


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(
        AutoScalingBackend.put_scheduled_update_group_action,
        *("self", "name", "desired_capacity", "max_size", "min_size", "scheduled_action_name", "recurrence"),
    )
    require_parameters(AutoScalingBackend.delete_scheduled_action, "auto_scaling_group_name", "scheduled_action_name")
    require_mentions(AutoScalingBackend.describe_scheduled_actions, "self.scheduled_actions.values()")
    require_parameters(FakeScheduledAction.__init__, "self", "scheduled_action_name", "time_zone")


def install() -> None:
    """Refuse schedules of nothing, and keep those of two groups apart."""
    wrap(AutoScalingBackend, "put_scheduled_update_group_action", _only_for_groups)
    wrap(AutoScalingBackend, "delete_scheduled_action", _of_the_group)


def _only_for_groups(moto_put: Callable[..., Any]) -> Callable[..., Any]:
    def put_scheduled_update_group_action(backend: Any, name: str, **named: Any) -> Any:
        if name not in backend.autoscaling_groups:
            raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        sizes = [named.get(part) for part in ("min_size", "desired_capacity", "max_size")]
        given = [size for size in sizes if size is not None]
        if not given:
            raise ValidationError("At least one of MinSize, MaxSize and DesiredCapacity must be given.")
        if given != sorted(given):
            raise ValidationError(f"MinSize, DesiredCapacity and MaxSize must grow: {sizes}")
        if not named.get("recurrence") and not named.get("start_time"):
            raise ValidationError("A scheduled action needs a recurrence or a start time.")
        with _lock:
            action = moto_put(backend, name, **named)
            del backend.scheduled_actions[action.scheduled_action_name]
            backend.scheduled_actions[f"{name}/{action.scheduled_action_name}"] = action
        action.scheduled_action_arn = (
            f"arn:{backend.partition}:autoscaling:{backend.region_name}:{backend.account_id}:scheduledUpdateGroupAction:"
            f"{uuid.uuid4()}:autoScalingGroupName/{name}:scheduledActionName/{action.scheduled_action_name}"
        )
        return action

    return put_scheduled_update_group_action


def _of_the_group(moto_delete: Callable[..., None]) -> Callable[..., None]:
    del moto_delete

    def delete_scheduled_action(backend: Any, auto_scaling_group_name: str, scheduled_action_name: str) -> None:
        if backend.scheduled_actions.pop(f"{auto_scaling_group_name}/{scheduled_action_name}", None) is None:
            raise ValidationError("Scheduled action name not found")

    return delete_scheduled_action
