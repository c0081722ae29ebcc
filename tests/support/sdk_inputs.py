"""Which properties a program can give a resource, by the SDK's own source."""

from __future__ import annotations

import ast
import re
from collections.abc import Container
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class _Any:
    def __contains__(self, name: object) -> bool:
        return True


@cache
def inputs_of(resource_type: str) -> Container[str]:
    """Names of the inputs of a type of pulumi-aws, as the engine writes them; every name for any other type."""
    if resource_type == "pulumi:providers:aws":
        return _arguments(_package() / "provider.py", "Provider")
    if not resource_type.startswith("aws:"):
        return _Any()
    module, _, name = resource_type.removeprefix("aws:").partition("/")
    file = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.partition(":")[0]).lower()
    folder = _package() / ("lambda_" if module == "lambda" else module)
    return _arguments(folder / f"{file}.py", name.rpartition(":")[2])


def _package() -> Path:
    spec = find_spec("pulumi_aws")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _arguments(file: Path, name: str) -> frozenset[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name in (f"{name}Args", f"{name}InitArgs"):
            (made,) = (one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__")
            return frozenset(_camel(one.arg) for one in (*made.args.args, *made.args.kwonlyargs))
    raise AssertionError(f"{file.name} has no {name}")


def _camel(name: str) -> str:
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(word.title() for word in rest)
