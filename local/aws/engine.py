"""The engine that turns rows into resources: create, read, update and delete, the same for every type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.account import Account
from trainyard.local.aws.calls import Call, Derive, Step
from trainyard.local.aws.compare import DEFAULTS_KEY, Comparison
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import HalfMadeError, NotKeptError, ProviderError
from trainyard.local.aws.fields import read_map
from trainyard.local.aws.naming import prefixed_name
from trainyard.local.aws.row import Row
from trainyard.local.aws.sdk import sdk_type
from trainyard.local.aws.tags import own_tags
from trainyard.local.aws.values import UNKNOWN

UNFINISHED_KEY = "__unfinished"
"""In a half-made resource's outputs: operations that are still to be made, though reading would not tell so."""


@dataclass(frozen=True)
class Engine:
    """Works on resources of one emulated account, in `region` unless a resource says otherwise."""

    account: Account
    region: str
    default_tags: Mapping[str, str]

    def create(self, row: Row, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Make a resource; its ID and outputs. `HalfMadeError` when it exists but something after that failed."""
        wanted = {name: value for name, value in inputs.items() if name != DEFAULTS_KEY}
        if row.name and row.name.property not in wanted and row.name.prefix_property in wanted:
            wanted[row.name.property] = row.name.finish(prefixed_name(wanted[row.name.prefix_property]), wanted)
        context = self._context(row, wanted=wanted)
        for precondition in row.before:
            precondition(context)
        try:
            answer = context.perform(row.creating)
        except ProviderError as error:
            if not context.id:  # nothing was made
                raise
            raise self._half_made(row, context, inputs, error, [_step_name(step) for step in row.setting]) from error
        context.id = _new_id(row, context, answer)
        sent = row.takes(row.creating)
        pending = frozenset(name for name in wanted if name not in row.told and name not in sent)
        return context.id, self._reconcile(row, context, inputs, pending, row.setting, made=True)

    def update(
        self,
        row: Row,
        resource_id: str,
        inputs: Mapping[str, Any],
        old_inputs: Mapping[str, Any],
        old_outputs: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Bring a resource to `inputs`: whatever differs from what the account holds now; the new outputs."""
        wanted = {name: value for name, value in inputs.items() if name != DEFAULTS_KEY}
        if row.name and row.name.property not in wanted:  # made from a prefix at create
            wanted[row.name.property] = old_outputs.get(row.name.property)
        context = self._context(row, resource_id, wanted, old_outputs)
        for precondition in row.before:
            precondition(context)
        untold = frozenset(set(wanted) | set(old_inputs)) - row.told - {DEFAULTS_KEY}
        changed = Comparison(row).differing(untold, wanted, old_inputs)
        unfinished = old_outputs.get(UNFINISHED_KEY) or ()
        steps = (*row.setting, *row.update)
        for step in steps:
            if _step_name(step) in unfinished:
                changed |= row.triggers(step)
        return self._reconcile(row, context, inputs, changed, steps, made=False)

    def read(
        self, row: Row, resource_id: str, old_outputs: Mapping[str, Any], old_inputs: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
        """What the account holds now: ID, inputs and outputs; `None` where the resource is gone.

        Without old outputs the ID alone says what to look for (an import); `id@region` looks in another region.
        """
        known = dict(old_outputs)
        if not old_inputs:
            resource_id, parts = _taken_apart(row, resource_id)
            known = {**parts, **known}
        context = self._context(row, resource_id, {}, known)
        observed = self._observe(context)
        if observed is None:
            return None
        outputs = self._outputs(row, context, observed, {**known, **old_inputs})
        inputs = self._inputs(row, context, observed if old_inputs else {**known, **observed}, old_inputs)
        self._read_tags(row, inputs, outputs, old_inputs)
        return context.id, inputs, outputs

    def delete(self, row: Row, resource_id: str, old_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any]) -> None:
        """Delete a resource; one that is gone is deleted, and one with `skipDestroy` is only forgotten."""
        if "skipDestroy" in row.local and old_inputs.get("skipDestroy"):
            return
        wanted = {name: value for name, value in old_inputs.items() if name != DEFAULTS_KEY}
        context = self._context(row, resource_id, wanted, old_outputs)
        actual = self._observe(context)
        if actual is None:
            return
        context.actual = actual
        for step in row.delete:
            context.perform(step)

    def preview_create(self, row: Row, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of a resource that is not made yet: what is asked for, and unknown what AWS will say."""
        sdk = sdk_type(row.token)
        outputs = {name: value for name, value in inputs.items() if name != DEFAULTS_KEY}
        comparison = Comparison(row)
        for name in sdk.outputs:
            if name in outputs or name in row.not_emulated:
                continue
            if name not in sdk.inputs or comparison.is_computed(name):
                outputs[name] = UNKNOWN
        return outputs

    def preview_update(
        self, row: Row, inputs: Mapping[str, Any], old_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The outputs after an update in place: the old ones with the new inputs over them."""
        gone = set(old_inputs) - set(inputs)
        kept = {
            name: value for name, value in old_outputs.items() if name not in gone or Comparison(row).is_computed(name)
        }
        outputs = {**kept, **inputs}
        outputs.pop(DEFAULTS_KEY, None)
        outputs.pop(UNFINISHED_KEY, None)
        return outputs

    def _context(
        self,
        row: Row,
        resource_id: str = "",
        wanted: Mapping[str, Any] | None = None,
        known: Mapping[str, Any] | None = None,
    ) -> Context:
        wanted, known = wanted or {}, known or {}
        region = wanted.get("region") or known.get("region") or self.region
        return Context(self.account, row, region, wanted, known, {}, resource_id)

    def _reconcile(
        self,
        row: Row,
        context: Context,
        inputs: Mapping[str, Any],
        changed: frozenset[str],
        steps: tuple[Step, ...],
        *,
        made: bool,
    ) -> dict[str, Any]:
        """Make those `steps` whose properties are `changed` or not as wanted, and read the result back.

        `made` says that the resource has been changed already, so that a failure must not lose it.
        """
        left = [_step_name(step) for step in steps]
        try:
            actual = self._observe(context)
            if actual is None:
                raise ProviderError(
                    f"{row.token} {context.id} is not there; `pulumi refresh` takes what is gone out of the state"
                )
            context.actual = actual
            changed |= Comparison(row).differing(_managed(row), context.wanted, actual)
            observed = actual
            for step in steps:
                if row.triggers(step) & changed:
                    context.perform(step)
                    made, observed = True, None
                left.remove(_step_name(step))
            if observed is None:
                observed = self._observe(context) or {}
            self._require_kept(row, context, observed)
        except Exception as error:
            if not made:
                raise
            raise self._half_made(row, context, inputs, error, left) from error
        outputs = self._outputs(row, context, observed, context.wanted)
        if "tags" in context.wanted:
            outputs["tags"] = context.wanted["tags"]
        return outputs

    def _half_made(
        self, row: Row, context: Context, inputs: Mapping[str, Any], error: Exception, unfinished: list[str]
    ) -> HalfMadeError:
        try:
            observed = self._observe(context) or {}
        except ProviderError:
            observed = {}
        outputs = self._outputs(row, context, {**context.wanted, **observed}, context.wanted)
        outputs[UNFINISHED_KEY] = unfinished
        reason = (
            str(error)
            if isinstance(error, ProviderError)
            else f"{type(error).__name__} in the row of {row.token}: {error}"
        )
        return HalfMadeError(context.id, outputs, inputs, [reason])

    def _observe(self, context: Context) -> dict[str, Any] | None:
        """All that the row's reads tell; `None` where the first finds nothing."""
        observed: dict[str, Any] = {}
        for position, read in enumerate(context.row.reading):
            if isinstance(read, Derive):
                found = read.function(context, observed)
            else:
                item = context.ask(read, observed)
                found = None if item is None else read_map(read.result, item)
            if found is None:
                if position == 0:
                    return None
                continue
            observed.update(found)
        return observed

    def _require_kept(self, row: Row, context: Context, observed: Mapping[str, Any]) -> None:
        """The account must hold what was asked for and nothing else: what drops or invents is found here."""
        lost = sorted(Comparison(row).differing(_managed(row), context.wanted, observed))
        if lost:
            details = "; ".join(
                f"{name} is {observed.get(name)!r}, asked for was {context.wanted.get(name)!r}" for name in lost
            )
            raise NotKeptError(f"the emulated account did not keep what it was told about {context.id}: {details}")

    def _outputs(
        self, row: Row, context: Context, observed: Mapping[str, Any], given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The outputs the SDK declares, each with what was observed, given or made from facts; nothing is invented."""
        sdk = sdk_type(row.token)
        comparison = Comparison(row)
        outputs: dict[str, Any] = {}
        for name in sdk.outputs:
            value = observed.get(name)
            if name not in row.told:
                value = given.get(name) if value is None else value
            elif name in given and comparison.same(name, given[name], value):
                value = comparison.as_written(name, given[name], value)
            if value is not None and name != "tags":
                outputs[name] = value
        facts = {**context.facts, **observed, "id": context.id}
        for name, template in row.outputs.items():
            outputs[name] = _filled(row, template, facts)
        if "region" in sdk.outputs:
            outputs["region"] = context.region
        return outputs

    def _inputs(
        self, row: Row, context: Context, observed: Mapping[str, Any], prior: Mapping[str, Any]
    ) -> dict[str, Any]:
        names = [
            name
            for name in sdk_type(row.token).inputs
            if name not in ("tags", "region") and name not in row.not_emulated
        ]
        inputs = Comparison(row).inputs_from(observed, prior, names)
        if "region" in sdk_type(row.token).inputs:
            inputs["region"] = context.region
        return inputs

    def _read_tags(self, row: Row, inputs: dict[str, Any], outputs: dict[str, Any], prior: Mapping[str, Any]) -> None:
        """`tags` are what the default tags do not account for, as the program wrote them where nothing changed."""
        if row.tags is None:
            return
        tags_all = outputs.get("tagsAll") or {}
        inputs["tagsAll"] = tags_all
        tags = (
            prior.get("tags") if prior and tags_all == prior.get("tagsAll") else own_tags(tags_all, self.default_tags)
        )
        if tags or "tags" in prior:
            inputs["tags"] = outputs["tags"] = tags or {}


def _managed(row: Row) -> list[str]:
    """The properties that the program decides on and that reading can tell."""
    inputs = sdk_type(row.token).inputs
    return sorted(name for name in row.told if name in inputs or name == "tagsAll")


def _new_id(row: Row, context: Context, answer: Any) -> str:
    if not isinstance(row.id, str) or "{" in row.id:
        return _id_of(row, context.facts)
    import jmespath

    found = jmespath.search(row.id, answer)
    if not found:
        raise ProviderError(f"{row.token}: nothing at {row.id} in the answer; is that what the row of this type means?")
    return str(found)


def _filled(row: Row, template: str, facts: Mapping[str, Any]) -> str:
    try:
        return template.format_map(facts)
    except KeyError as missing:
        raise ProviderError(f"{row.token}: nothing is known of {missing} in {template!r}") from None


def _taken_apart(row: Row, resource_id: str) -> tuple[str, dict[str, Any]]:
    """An imported ID, without its `@region`, and the properties that stand in it."""
    resource_id, _, region = resource_id.partition("@")
    known: dict[str, Any] = {"region": region} if region else {}
    if not row.id_patterns:
        return resource_id, known
    for pattern in row.id_patterns:
        match = pattern.match(resource_id)
        if match:
            known |= match.groupdict()
            known = {**row.defaults, **known}
            return (resource_id if isinstance(row.id, str) and "{" not in row.id else _id_of(row, known)), known
    if isinstance(row.id, str) and "{" not in row.id:  # AWS's own ID, though it can be written otherwise
        return resource_id, known
    raise ProviderError(f"{resource_id!r} is no ID of {row.token}; it looks like {' or '.join(row.id_templates)}")


def _id_of(row: Row, facts: Mapping[str, Any]) -> str:
    return _filled(row, row.id, facts) if isinstance(row.id, str) else row.id(facts)


def _step_name(step: Step) -> str:
    return step.operation if isinstance(step, Call) else getattr(step.function, "__name__", "")
