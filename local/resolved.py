"""An environment's resources with every value known: brought up in a throw-away account, unjudged, and written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from trainyard.local import gate, prerequisites, scratch
from trainyard.local.engine import Event
from trainyard.local.rehearsal import Rehearsal
from trainyard.stacks.settings import Settings

PURPOSE = "resolved"
"""Of the temporary folders, in which the accounts are."""


def resolved(
    environment: str,
    values: Mapping[str, Any],
    settings: Settings,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, Any]:
    """The environment as `pulumi stack export` would give it, all its layers together.

    `values` are the whole configuration of the stack, by full key, and `settings` what they mean. Raises `EngineError`
    where it does not come up.
    """
    gate.clear_left_behind(PURPOSE)
    with scratch.folder(PURPOSE) as folder:
        own = gate.readable(values)
        config = folder / f"Pulumi.{environment}.yaml"
        config.write_text(yaml.safe_dump({"config": own}, allow_unicode=True), encoding="utf-8")
        with Rehearsal(
            environment,
            folder / "rehearsal",
            config=config,
            layers=settings.stack_layers,
            throw_away=True,
            judged=False,
        ) as rehearsal:
            given = prerequisites.provide(rehearsal.endpoint, settings)
            config.write_text(yaml.safe_dump({"config": {**own, **given}}, allow_unicode=True), encoding="utf-8")
            rehearsal.up(on_event)
            return rehearsal.export()
