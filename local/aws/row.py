"""The row language: one `Row` says all the provider needs to know about one resource type.

A small row, whole:

    _PUT = Call("set_queue_attributes", {"QueueUrl": "queueUrl", "Attributes": {"Policy": Json("policy")}})

    Row(
        "aws:sqs/queuePolicy:QueuePolicy",      the type, as the SDK spells it
        service="sqs",                          the boto3 client
        id="{queueUrl}",                        the resource's ID
        create=_PUT,
        update=(_PUT,),
        read=(Read("get_queue_attributes", {"QueueUrl": "queueUrl", "AttributeNames": Const(["Policy"])},
                   {"Policy": Json("policy")}, path="Attributes", gone=("QueueDoesNotExist",)),),
        delete=(Call("set_queue_attributes", {"QueueUrl": ID, "Attributes": {"Policy": Const("")}}),),
        replace_on=("queueUrl",),
    )

To add a type: write its row into the file of its SDK module (`rows/eks.py`, listed in `rows/__init__.py`), run
`pytest tests/local/aws/test_rows.py`, which names what is missing, and add the type to `test_lifecycles.py`, which
makes, reads, imports, changes and deletes it in the emulated account.

Operations
    A `Call` is a boto3 method and the map of its request (`fields.py` has the language of maps); a `Read` has the map
    of its answer as well, often the same one. `create` makes the resource. `id` is a template over properties
    (`"{role}:{name}"`, which also takes an imported ID apart), a JMESPath into create's answer (`"Vpc.VpcId"`), or a
    function of the facts. Further ways to write an ID for an import are in `import_ids`.
    After create the resource is read back; those `settings` are made whose properties are not yet as wanted; it is
    read again. An update does the same with `settings` and `update`. A call is made only when a property that it
    sends has to change, so the next update repairs a create that was interrupted. `delete` calls run in order.
    `Do(function, on=(properties,))` stands where no operation does, `Derive` where no read does. `before` are
    functions that raise `RefusedError` for what AWS refuses and the emulator does not.

The read-back is a check
    An input that the account did not keep, or that it invented, is an error that names it. So what an emulator drops
    is found the first time it is used. It is silent only about what no read tells.

Properties: whatever stands in a map is supported. Beside that
    defaults        what the official provider fills in at Check; a program's value wins
    computed        inputs that AWS chooses when the program does not; nested ones as `rules[].bucketKeyEnabled`
    local           inputs on which only the provider acts (`forceDestroy`; `skipDestroy` works by itself)
    not_emulated    inputs that are refused and outputs that have no value, each with the reason, for the docs
    outputs         outputs made of facts: "arn:{partition}:ec2:{region}:{account}:vpc/{id}"
    name            auto-naming, for a type that has a name: `Name(max_length=64)`
    tags            how the service takes tags (`tags.py`); Check makes `tagsAll`
    A property whose name begins with `_` is only passed from one read to the next.

Replacement
    `replace_on` are properties that cannot change in place. Added are the `createOnlyProperties` of the
    `cloudformation` schema, less `in_place`; the name and the region always replace. The new resource comes before
    the old one goes, unless the program fixes the name or `delete_before_replace` is set.

Checks
    Types, required and unknown properties come from the SDK. Enums, patterns, lengths and ranges come from the
    `cloudformation` schema, property by property under the same name; `schema_names` has the others, as paths into
    the schema ("OwnershipControls/Rules/[]"). `unchecked` are properties for which the schema is wrong.
    `exactly_one` and `conflicts` list properties that exclude each other; `constraints` are functions from inputs to
    problems, for what remains. `notes` are sentences for the table of docs/rehearsal.md.
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

    def knows(self, name: str) -> bool:
        """Whether the row does something with an input of this name, unless it is `not_emulated`."""
        names = (self.name.property, self.name.prefix_property) if self.name else ()
        return name in self.fields or name in self.local or name in ("region", "tags", "tagsAll", *names)

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
