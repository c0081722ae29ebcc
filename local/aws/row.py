"""The row language: one `Row` says all the provider needs to know about one resource type.

The smallest row is a handful of lines:

    Row(
        "aws:sqs/queuePolicy:QueuePolicy",                the type, as the SDK spells it
        service="sqs",                                    the boto3 client
        id="{queueUrl}",                                  the resource's ID, from its properties …
        create=PUT, update=(PUT,),                        PUT = Call("set_queue_attributes", {"QueueUrl": "queueUrl", …})
        read=(Read("get_queue_attributes", {…}, {"Attributes": {"Policy": Json("policy")}}, gone=(…,)),),
        delete=(Call("set_queue_attributes", {"QueueUrl": ID, "Attributes": {"Policy": Const("")}}),),
        replace_on=("queueUrl",),
    )

**Operations.** A `Call` names a boto3 method and the map of its request (see `fields.py`); a `Read` has the map of its answer
too. `create` makes the resource and its `id` is a template over properties (`"{role}:{name}"`, which also takes an imported
ID apart) or a JMESPath into create's answer (`"Vpc.VpcId"`). After create the provider reads the resource back, makes those
`settings` calls whose properties are not yet as wanted, and reads again; update does the same with `settings` and `update`.
A call is made only when a property in its request has to change, so an interrupted create is repaired by the next update.
`delete` calls run in order. Anything else is a `Do(function, on=(properties,))` in the same places.

**The read-back is a check**: an input that the account did not keep as asked is an error that names it, unless `read` does
not tell it. So an emulator that drops a property is found the first time the property is used.

**Properties.** Everything in a map is supported. Beside that:
    defaults        what the official provider fills in at Check (a program's value wins)
    computed        inputs AWS chooses when the program does not (paths such as `rules[].bucketKeyEnabled` for nested ones)
    local           inputs that only the provider itself acts on (`forceDestroy`)
    not_emulated    inputs the provider refuses, with the reason; they show up in the table of docs/rehearsal.md
    outputs         outputs made from facts: "arn:{partition}:ec2:{region}:{account}:vpc/{id}"
    name            auto-naming: `Name("name", max_length=64)`; the default is the property `name` where the type has one
    tags            how the service takes tags (`tags.py`); Check puts `tagsAll` together
An input that is none of these is a row that is not finished: the rows' contract test names it.

**Replacement.** `replace_on` lists properties that cannot change in place; `createOnlyProperties` of the `cloudformation`
schema are added; `in_place` takes out what AWS or the official provider does change. `region` always replaces.
Old and new may exist side by side unless the name is fixed by the program or `delete_before_replace` says otherwise.

**Checks.** Types, required and unknown properties come from the SDK; enums, patterns and ranges from the CloudFormation
schema under the same name (`schema_names` maps those that differ; `cloudformation="AWS::S3::Bucket/VersioningConfiguration"`
points into a schema; `unchecked` takes out a path where the schema is wrong for the property). `exactly_one` and `conflicts`
list properties that exclude each other. `constraints` are functions from inputs to `(property, reason)` problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trainyard.local.aws.calls import Call, Derive, Do, Read, Step
from trainyard.local.aws.fields import Named, Prop, leaves
from trainyard.local.aws.tags import Tagging

if TYPE_CHECKING:
    from trainyard.local.aws.context import Context


Problem = tuple[str, str]
"""A property's path and what is wrong with it."""


@dataclass(frozen=True)
class Name:
    """Auto-naming of `property`: the resource's name, a dash and seven hex digits, at most `max_length` characters."""

    property: str = "name"
    prefix_property: str = "namePrefix"
    max_length: int = 255
    transform: Callable[[str], str] = str
    finish: Callable[[str, Mapping[str, Any]], str] = lambda name, _: name


@dataclass(frozen=True, eq=False)
class Row:
    """One resource type. See the module's documentation."""

    token: str
    _: KW_ONLY
    service: str
    id: str | Callable[[Mapping[str, Any]], str]
    create: Step
    read: tuple[Read | Derive, ...]
    cloudformation: str = ""
    settings: tuple[Step, ...] = ()
    update: tuple[Step, ...] = ()
    delete: tuple[Step, ...] = ()
    name: Name | None = None
    tags: Tagging | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    computed: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    not_emulated: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    replace_on: tuple[str, ...] = ()
    in_place: tuple[str, ...] = ()
    delete_before_replace: bool = False
    import_ids: tuple[str, ...] = ()
    schema_names: Mapping[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    exactly_one: tuple[tuple[str, ...], ...] = ()
    conflicts: tuple[tuple[str, ...], ...] = ()
    constraints: tuple[Callable[[Mapping[str, Any]], Iterable[Problem]], ...] = ()
    before: tuple[Callable[[Context], None], ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def creating(self) -> Step:
        """`create`, with the tags in it where the service takes them there."""
        if self.tags is None or not self.tags.create or isinstance(self.create, Do):
            return self.create
        return replace(self.create, request={**self.create.request, **self.tags.create})

    @cached_property
    def reading(self) -> tuple[Read | Derive, ...]:
        """`read`, with what tells the tags."""
        if self.tags is None:
            return self.read
        first = self.read[0]
        if self.tags.read and isinstance(first, Read):
            return (replace(first, result={**first.result, **self.tags.read}), *self.read[1:], *self.tags.reads)
        return (*self.read, *self.tags.reads)

    @cached_property
    def setting(self) -> tuple[Step, ...]:
        """`settings`, with what changes the tags."""
        return self.settings if self.tags is None else (*self.settings, *self.tags.calls)

    @cached_property
    def fields(self) -> dict[str, Named]:
        """Every property that an operation sends or tells, with the field that knows how to compare it."""
        found: dict[str, Named] = {}
        for leaf in self._all_leaves():
            if leaf.name not in found or type(found[leaf.name]) is Prop:
                found[leaf.name] = leaf
        return found

    @cached_property
    def told(self) -> frozenset[str]:
        """The properties that reading the resource can tell."""
        return frozenset(leaf.name for leaf in self._read_leaves())

    def triggers(self, step: Step) -> frozenset[str]:
        """The properties whose change is a reason to make `step`."""
        if isinstance(step, Do):
            return frozenset(step.on)
        names = {leaf.name for leaf in leaves(step.request)} | {step.when_set, step.when_unset} - {""}
        return frozenset(names - set(self.replace_on))

    def takes(self, step: Step) -> frozenset[str]:
        """The properties that `step` sends."""
        return frozenset(step.on) if isinstance(step, Do) else frozenset(leaf.name for leaf in leaves(step.request))

    @cached_property
    def id_patterns(self) -> tuple[re.Pattern[str], ...]:
        """What an imported ID looks like, with a group per property in it."""
        return tuple(_id_pattern(template) for template in self.id_templates)

    @cached_property
    def id_templates(self) -> tuple[str, ...]:
        """How an imported ID may be written."""
        return (*self.import_ids, *((self.id,) if isinstance(self.id, str) and "{" in self.id else ()))

    def _read_leaves(self) -> Iterable[Named]:
        for read in self.reading:
            if isinstance(read, Read):
                yield from leaves(read.result)
            else:
                yield from leaves(read.properties)

    def _all_leaves(self) -> Iterable[Named]:
        yield from self._read_leaves()
        for step in (self.creating, *self.setting, *self.update):
            if isinstance(step, Call):
                yield from leaves(step.request)


def _id_pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", template)
    names = [part for part in parts if part.startswith("{")]
    pattern = ""
    for part in parts:
        if not part.startswith("{"):
            pattern += re.escape(part)
        else:
            pattern += f"(?P<{part[1:-1]}>.+{'' if part == names[-1] else '?'})"
    return re.compile(pattern + r"\Z")
