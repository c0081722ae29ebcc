"""The cases speak of types and properties that the provider has: a misspelt one in a rule would pass everything."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from trainyard.policies.cases import cases_of
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Rule

# Rules that look at properties by what they hold or by the form of their names, so that their cases invent some.
BY_FORM = {"residency-input-region", "backup-vault-names-key"}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _source(resource_type: str) -> Path:
    """Where the SDK writes a type such as `aws:s3/bucketPolicy:BucketPolicy`."""
    spec = find_spec("pulumi_aws")
    assert spec is not None
    assert spec.origin is not None
    module, _, name = resource_type.removeprefix("aws:").partition("/")
    file = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.partition(":")[0]).lower()
    return Path(spec.origin).parent / ("lambda_" if module == "lambda" else module) / f"{file}.py"


@cache
def _properties(resource_type: str) -> frozenset[str]:
    found = {"id"}
    tree = ast.parse(_source(resource_type).read_text(encoding="utf-8"))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Attribute) and decorator.attr == "getter":
                found.add(_camel(function.name))
            elif isinstance(decorator, ast.Call) and getattr(decorator.func, "attr", "") == "getter":
                found.update(
                    str(word.value.value) for word in decorator.keywords if isinstance(word.value, ast.Constant)
                )
    return frozenset(found)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.id not in BY_FORM], ids=lambda rule: rule.id)
def test_cases_use_properties_that_exist(rule: Rule) -> None:
    used = {
        (resource.type, name)
        for case in cases_of(rule)
        for resource in case.resources
        if resource.type.startswith("aws:")
        for name in resource.props
    }

    assert {(kind, name) for kind, name in used if name not in _properties(kind)} == set()
