"""Registers the resources of a batch of cases, as a program of users would.

Each case is a component, whose type is in the URNs of what is below it: so two cases may call their resources alike.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE


def main() -> None:
    batch = json.loads(Path(pulumi.Config("cases").require("batch")).read_text(encoding="utf-8"))
    for case in batch:
        register(case)


def register(case: dict[str, Any]) -> None:
    component = pulumi.ComponentResource(case["component"], case["component"].rpartition(":")[2])
    made: dict[str, pulumi.Resource] = {}
    for one in case["resources"]:
        props = {
            name: computed(value, {made[origin] for origin in one["depends"].get(name, ())})
            for name, value in one["inputs"].items()
        }
        made[one["name"]] = resource(one["type"], one["name"], props, made.get(one["provider"]), component)


def resource(
    token: str, name: str, props: dict[str, Any], provider: pulumi.Resource | None, parent: pulumi.Resource
) -> pulumi.Resource:
    if token == "pulumi:pulumi:StackReference":
        return pulumi.StackReference(
            name, stack_name=f"organization/trainyard/{name}", opts=pulumi.ResourceOptions(parent=parent)
        )
    if token.startswith("pulumi:providers:"):
        return pulumi.ProviderResource(
            token.removeprefix("pulumi:providers:"), name, props, pulumi.ResourceOptions(parent=parent)
        )
    assert provider is None or isinstance(provider, pulumi.ProviderResource)
    return pulumi.CustomResource(token, name, props, pulumi.ResourceOptions(parent=parent, provider=provider))


def computed(value: Any, origins: set[pulumi.Resource]) -> Any:
    """A property's value as a program has it that computed it from `origins`."""
    inside = _inside(value, origins)
    return _output(inside, origins) if origins and not isinstance(inside, pulumi.Output) else inside


def _inside(value: Any, origins: set[pulumi.Resource]) -> Any:
    if value == UNKNOWN_STRING_VALUE:
        return _output(None, origins, known=False)
    if isinstance(value, dict):
        if value.get(SPECIAL_SIG_KEY) == SPECIAL_SECRET_SIG:
            return pulumi.Output.secret(_inside(value["value"], origins))
        return {key: _inside(item, origins) for key, item in value.items()}
    if isinstance(value, list):
        return [_inside(item, origins) for item in value]
    return value


def _output(value: Any, origins: set[pulumi.Resource], known: bool = True) -> pulumi.Output[Any]:
    return pulumi.Output(origins, _at_once(value), _at_once(known))


def _at_once(value: Any) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_event_loop().create_future()
    future.set_result(value)
    return future


main()
