"""How the layers of a split environment find each other: through the outputs of each other's stacks."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import pulumi

from trainyard.stacks.cluster import ClusterLayer
from trainyard.stacks.data import DataLayer
from trainyard.stacks.settings import Settings

LayerT = TypeVar("LayerT", DataLayer, ClusterLayer)


def export(layer: Any) -> None:
    """Make every field of a layer the stack output of that name."""
    for field in dataclasses.fields(layer):
        pulumi.export(field.name, getattr(layer, field.name))


def from_stack(layer_type: type[LayerT], settings: Settings, layer: str) -> LayerT:
    """The layer as the environment's other stack exports it.

    An output that is missing there ends the program and names it: that stack has to be brought up first.
    """
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{settings.environment}-{layer}"
    reference = pulumi.StackReference(stack)
    return layer_type(**{field.name: reference.require_output(field.name) for field in dataclasses.fields(layer_type)})
