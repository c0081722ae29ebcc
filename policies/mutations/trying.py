"""Every mutation of an environment, and what the rules say of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.in_force import InForce
from trainyard.policies.mutations import everywhere, properties, statements
from trainyard.policies.mutations.model import Mutation
from trainyard.policies.rule import Finding, Level, Result, Rule, Scope, judge

Told = Callable[[int, int], None]
"""Is told how many mutations are tried, and of how many."""


class Outcome(StrEnum):
    """What became of a mutation. ADVICE: only rules that stop nothing speak up."""

    CAUGHT = "caught"
    ADVICE = "advice only"
    MISSED = "missed"
    HARMLESS = "no loss"


@dataclass(frozen=True)
class Tried:
    """A mutation with what became of it: `by` is the first rule that speaks up, or why the mutation is no loss."""

    mutation: Mutation
    outcome: Outcome
    by: str = ""


def mutations(inputs: Graph, outputs: Graph) -> list[Mutation]:
    """All mutations of an environment, none twice. What differs in what it does and not in its words is one."""
    made = [
        *properties.mutations(inputs),
        *everywhere.mutations(inputs, outputs),
        *statements.mutations(inputs),
    ]
    return list({(one.resource.urn, one.what): one for one in made}.values())


def try_all(judging: InForce, inputs: Graph, outputs: Graph, told: Told = lambda *_: None) -> Iterator[Tried]:
    """Makes each mutation of an environment alone and judges it, as the engine would: one resource by its inputs, the
    stack by its outputs.

    A rule catches a mutation where it says something that was not said before and that stops a deployment: a violation,
    or that something cannot be verified, on any resource. A rule that fails catches nothing.
    """
    trial = _Trial(judging, inputs, outputs)
    all_of_them = mutations(inputs, outputs)
    for number, one in enumerate(all_of_them):
        told(number, len(all_of_them))
        yield trial.tried(one)


class _Trial:
    def __init__(self, judging: InForce, inputs: Graph, outputs: Graph) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._judging, self._register = judging, judging.register()
        self._resource_rules = judging.scoped(Scope.RESOURCE)
        self._stack_rules = judging.scoped(Scope.STACK)
        self._before = {
            _key(result, found)
            for rules, graph in ((self._resource_rules, inputs), (self._stack_rules, outputs))
            for rule in rules
            for resource in graph.about(rule.applies)
            for result, found in self._found(rule, resource, graph)
        }

    def tried(self, mutation: Mutation) -> Tried:
        if reason := _harmless(mutation, self.inputs):
            return Tried(mutation, Outcome.HARMLESS, reason)
        advising = ""
        for result, found in self._new(mutation):
            if found.level is Level.MANDATORY and not found.exemption:
                return Tried(mutation, Outcome.CAUGHT, result.rule.id)
            advising = advising or result.rule.id
        return Tried(mutation, Outcome.ADVICE if advising else Outcome.MISSED, advising)

    def _new(self, mutation: Mutation) -> Iterator[tuple[Result, Finding]]:
        """What is found and was not before, by the quick rules first: most mutations are caught where they are made."""
        inputs = mutation.applied(self.inputs)
        for rule in self._resource_rules:
            for resource in _judged_with(mutation.resource.urn, inputs):
                if rule.applies(resource.type):
                    yield from self._unlike_before(rule, resource, inputs)
        outputs = mutation.applied(self.outputs)
        kind = mutation.resource.type
        for rule in sorted(self._stack_rules, key=lambda one: (not one.applies(kind), one.id.startswith("iam-reach"))):
            for resource in outputs.about(rule.applies):
                yield from self._unlike_before(rule, resource, outputs)

    def _unlike_before(self, rule: Rule, resource: Resource, graph: Graph) -> Iterator[tuple[Result, Finding]]:
        return (one for one in self._found(rule, resource, graph) if _key(*one) not in self._before)

    def _found(self, rule: Rule, resource: Resource, graph: Graph) -> Iterator[tuple[Result, Finding]]:
        levels = self._judging.levels
        if levels.is_asked(rule, resource, graph):
            result = self._register.answer(levels.answer(judge(rule, resource, graph), graph))
            yield from ((result, found) for found in result.findings if not found.crashed)


def _judged_with(urn: str, graph: Graph) -> list[Resource]:
    """The resources whose inputs a mutation changes: the one itself, and with a provider all that it makes."""
    itself = graph.by_urn.get(urn)
    if itself is None or not itself.type.startswith("pulumi:providers:"):
        return [itself] if itself else []
    return [itself, *(one for one in graph.resources if one.provider is itself)]


def _key(result: Result, found: Finding) -> tuple[str, ...]:
    """What tells a finding from those of before. One that says something else is a new one."""
    return result.rule.id, result.resource.urn, found.verdict, found.urn, found.place, found.message


@dataclass(frozen=True)
class _NoLoss:
    type: re.Pattern[str]
    name: re.Pattern[str]
    what: tuple[re.Pattern[str], ...]
    unless_any: str
    why: str

    def means(self, mutation: Mutation, graph: Graph) -> bool:
        return bool(
            self.type.fullmatch(mutation.resource.type)
            and self.name.fullmatch(mutation.resource.name)
            and any(one.fullmatch(mutation.what) for one in self.what)
            and not (self.unless_any and graph.of({self.unless_any}))
        )


@cache
def _no_loss() -> Sequence[_NoLoss]:
    raw = yaml.safe_load(Path(__file__).with_name("harmless.yaml").read_text(encoding="utf-8"))
    return [
        _NoLoss(
            _glob(one["type"]),
            _glob(one.get("name", "*")),
            tuple(map(_glob, one["what"])),
            one.get("unless_any", ""),
            one["why"].strip(),
        )
        for one in raw
    ]


def _glob(pattern: str) -> re.Pattern[str]:
    """`*` stands for anything, `[*]` for itself, as all else."""
    parts = (".*".join(map(re.escape, part.split("*"))) for part in pattern.split("[*]"))
    return re.compile(r"\*".join(parts), re.DOTALL)


def _harmless(mutation: Mutation, graph: Graph) -> str:
    return next((one.why for one in _no_loss() if one.means(mutation, graph)), "")
