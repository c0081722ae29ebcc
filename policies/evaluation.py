"""All rules over a whole environment, outside the engine: the same rules, levels and exemptions in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainyard.policies.graph import Graph, is_layer
from trainyard.policies.in_force import InForce
from trainyard.policies.rule import Finding, Level, Result, Rule, Scope, Verdict, evaluate, judge


def evaluate_all(judging: InForce, inputs: Graph, stack: Graph) -> Iterator[Result]:
    """Judges as the engine does: a RESOURCE rule by `inputs`, one resource at a time; a STACK rule by `stack`, all
    resources with their outputs; the exemptions last."""
    register = judging.register()
    for scope, graph in ((Scope.RESOURCE, inputs.as_inputs), (Scope.STACK, stack)):
        for rule in judging.scoped(scope):
            yield from (register.answer(result) for result in _over(judging, rule, graph))
    yield from evaluate([register.rule()], stack)


def _over(judging: InForce, rule: Rule, graph: Graph) -> Iterator[Result]:
    partial = rule.scope is Scope.STACK and _is_one_layer(graph)
    for resource in graph.about(rule.applies):
        if judging.levels.is_asked(rule, resource, graph):
            result = judging.levels.answer(judge(rule, resource, graph), graph)
            yield replace(result, findings=tuple(map(_beyond, result.findings))) if partial else result


def _is_one_layer(graph: Graph) -> bool:
    """Whether this is one stack of a split environment, which refers to what the others hold."""
    stacks = {resource.urn.partition("::")[0] for resource in graph.resources}
    return len(stacks) == 1 and is_layer(graph.resources[0].urn)


def _beyond(finding: Finding) -> Finding:
    """What a layer cannot see is advice: it is judged over all of them together."""
    return replace(finding, level=Level.ADVISORY) if finding.verdict is Verdict.UNVERIFIED else finding
