"""All rules over a whole environment, outside the engine: the same rules, levels and exemptions in the same order."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Graph
from trainyard.policies.in_force import InForce
from trainyard.policies.rule import Result, Rule, Scope, evaluate, judge


def evaluate_all(judging: InForce, inputs: Graph, stack: Graph) -> Iterator[Result]:
    """Judges as the engine does: a RESOURCE rule by `inputs`, one resource at a time; a STACK rule by `stack`, all
    resources with their outputs; the exemptions last."""
    register = judging.register()
    for scope, graph in ((Scope.RESOURCE, inputs), (Scope.STACK, stack)):
        for rule in judging.scoped(scope):
            yield from (register.answer(result) for result in _over(judging, rule, graph))
    yield from evaluate([register.rule()], stack)


def _over(judging: InForce, rule: Rule, graph: Graph) -> Iterator[Result]:
    for resource in graph.about(rule.applies):
        if judging.levels.is_asked(rule, resource, graph):
            yield judging.levels.answer(judge(rule, resource, graph), graph)
