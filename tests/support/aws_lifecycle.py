"""A resource type's whole life in the emulated account, as a class of tests to inherit from.

    class TestTopics(Lifecycle):
        steps = {"topic": Step("aws:sns/topic:Topic", lambda r: {"displayName": "a"}, lambda r: {"displayName": "b"})}

makes the steps' resources in order, then tries each: the same program again changes nothing, a refresh finds what was
made, an import by ID matches the program, a change in place arrives and goes back. Everything is destroyed at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from aws_program import DEFAULT_TAGS, Program, Resource

from trainyard.local.aws.compare import DEFAULTS_KEY
from trainyard.local.aws.provider import Configuration, Provider

Recipe = Callable[[dict[str, Resource]], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A resource of the program: its type, its inputs and, where it can change in place, those of a later program.

    `import_id` makes the ID to import by from the resource; `not_told` are inputs that no read tells; `by_others` are
    outputs that change with other resources of the program.
    """

    token: str
    first: Recipe
    later: Recipe | None = None
    import_id: Callable[[Resource], str] = lambda resource: resource.id
    not_told: frozenset[str] = frozenset()
    by_others: frozenset[str] = frozenset()


class Lifecycle:
    """Inherit from this and set `steps`."""

    steps: ClassVar[Mapping[str, Step]] = {}
    region: ClassVar[str] = "us-east-1"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test per step."""
        if "step" in metafunc.fixturenames:
            steps = metafunc.cls.steps
            chosen = [name for name in steps if steps[name].later] if "in_place" in metafunc.definition.name else steps
            metafunc.parametrize("step", list(chosen))

    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, account: Any) -> Iterator[Program]:
        """All steps, made once; destroyed at the end, which has to work as well."""
        program = Program(Provider(Configuration(cls.region, DEFAULT_TAGS), account))
        for name, step in cls.steps.items():
            program.up(step.token, name, **step.first(program.resources))
        yield program
        program.destroy_all()

    def test_the_same_program_again_changes_nothing(self, stack: Program, step: str) -> None:
        inputs = self.steps[step].first(stack.resources)
        assert stack.preview(self.steps[step].token, step, **inputs) == []

    def test_refresh_finds_what_was_made(self, stack: Program, step: str) -> None:
        before = stack.resources[step]
        inputs, outputs = dict(before.inputs), dict(before.outputs)
        after = stack.refresh(step)
        assert after is not None
        assert after.inputs == inputs
        others = self.steps[step].by_others
        assert {k: v for k, v in after.outputs.items() if k not in others} == {
            k: v for k, v in outputs.items() if k not in others
        }

    def test_an_import_by_id_matches_the_program(self, stack: Program, step: str) -> None:
        token, made = self.steps[step].token, stack.resources[step]
        found = stack.provider.read(token, self.steps[step].import_id(made), {}, {})
        assert found is not None
        imported_id, inputs, outputs = found
        assert imported_id == made.id
        program = self.steps[step].first(stack.resources)
        for generated in set(made.inputs[DEFAULTS_KEY]) & {"name", "bucket"}:
            program[generated] = made.inputs[generated]
        checked, problems = stack.provider.check(token, step, program, inputs)
        assert not problems
        changes = stack.provider.diff(token, inputs, outputs, checked).changes
        assert {path.split(".")[0].split("[")[0] for path in changes} <= self.steps[step].not_told

    def test_a_change_in_place_arrives_and_goes_back(self, stack: Program, step: str) -> None:
        token, first, later = self.steps[step].token, self.steps[step].first, self.steps[step].later
        assert later is not None
        before = stack.resources[step].id
        for recipe in (later, first):
            stack.log.clear()
            inputs = recipe(stack.resources)
            stack.up(token, step, **inputs)
            assert stack.log == [f"update {step}"]
            assert stack.preview(token, step, **inputs) == []
            assert stack.refresh(step) is not None
            assert stack.preview(token, step, **inputs) == []
        assert stack.resources[step].id == before
