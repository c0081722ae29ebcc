"""Every mutation of an environment, and what the rules say of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.mutations import everywhere, properties, statements
from trainyard.policies.mutations.model import Mutation
from trainyard.policies.rule import Result, Rule, Scope, judge
from trainyard.policies.state import graph_of

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


def try_all(rules: Iterable[Rule], export: Mapping[str, Any], told: Told = lambda *_: None) -> Iterator[Tried]:
    """Makes each mutation of an exported state alone and judges it.

    A rule catches one that gives a violation, or something that cannot be verified, that was not there before, on any
    resource. A rule that fails catches nothing.
    """
    trial = _Trial(rules, graph_of(export, "inputs"), graph_of(export, "outputs"))
    all_of_them = mutations(trial.inputs, trial.outputs)
    for number, one in enumerate(all_of_them):
        told(number, len(all_of_them))
        yield trial.tried(one)


class _Trial:
    def __init__(self, rules: Iterable[Rule], inputs: Graph, outputs: Graph) -> None:
        self.inputs, self.outputs = inputs, outputs
        asked = list(rules)
        self._resource_rules = [one for one in asked if one.scope is Scope.RESOURCE]
        self._stack_rules = [one for one in asked if one.scope is Scope.STACK]
        self._before = {
            key
            for scope, graph in ((self._resource_rules, inputs), (self._stack_rules, outputs))
            for rule in scope
            for resource in graph.about(rule.applies)
            for key in _keys(judge(rule, resource, graph))
        }

    def tried(self, mutation: Mutation) -> Tried:
        if reason := _harmless(mutation, self.inputs):
            return Tried(mutation, Outcome.HARMLESS, reason)
        advising = ""
        for rule in self._speaking_up(mutation):
            if not rule.advice:
                return Tried(mutation, Outcome.CAUGHT, rule.id)
            advising = advising or rule.id
        return Tried(mutation, Outcome.ADVICE if advising else Outcome.MISSED, advising)

    def _speaking_up(self, mutation: Mutation) -> Iterator[Rule]:
        """Rules with something new to say, the quick ones first: most mutations are caught where they are made."""
        inputs = mutation.applied(self.inputs)
        mutated = mutation.resource.urn
        for rule in self._resource_rules:
            own = [one for one in _judged_with(mutated, inputs) if rule.applies(one.type)]
            yield from self._if_new(rule, own, inputs)
        outputs = mutation.applied(self.outputs)
        kind = mutation.resource.type
        for rule in sorted(self._stack_rules, key=lambda one: (not one.applies(kind), one.id.startswith("iam-reach"))):
            yield from self._if_new(rule, outputs.about(rule.applies), outputs)

    def _if_new(self, rule: Rule, resources: Iterable[Resource], graph: Graph) -> Iterator[Rule]:
        for resource in resources:
            if _keys(judge(rule, resource, graph)) - self._before:
                yield rule
                return


def _judged_with(urn: str, graph: Graph) -> list[Resource]:
    """The resources whose inputs a mutation changes: the one itself, and with a provider all that it makes."""
    itself = graph.by_urn.get(urn)
    if itself is None or not itself.type.startswith("pulumi:providers:"):
        return [itself] if itself else []
    return [itself, *(one for one in graph.resources if one.provider is itself)]


def _keys(result: Result) -> set[tuple[str, ...]]:
    """What a rule found, to tell it from what it found before; nothing where the rule itself failed."""
    return {
        (result.rule.id, result.resource.urn, found.verdict, found.urn, found.place, found.message)
        for found in result.findings
        if not found.crashed
    }


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
