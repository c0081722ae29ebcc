"""All settings of a run as a page, from where they are defined.

python -m trainer.setting_page > docs/training-settings.md
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainer.config import Config

_HEAD = """# All settings of a run

Generated from the models (`python -m trainer.setting_page > docs/training-settings.md`). A configuration is a YAML file
with these sections, or a [recipe](recipes.md); `--set section.setting=value` changes one. What must be said in any run
has no default here; a recipe says the most of it. [Train](training.md) has what belongs together.
"""

_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "string": "a text",
}
_FORMS = {"path": "a path", "date-time": "a time with its zone, such as `2027-01-15T11:30:00Z`"}


def page() -> str:
    """Markdown: a table for each section, a row for each setting."""
    schema = Config.model_json_schema()
    sections = []
    for name, field in Config.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        told = _told(model)
        rows = [
            f"| `{name}.{one}` | {told.get(one, '')} | {_may_be(schema['$defs'][model.__name__]['properties'][one])} "
            f"| {_default(about)} |"
            for one, about in model.model_fields.items()
        ]
        said = f"{_one_line(model.__doc__)}\n\n" if model.__doc__ and model.__doc__ != BaseModel.__doc__ else ""
        sections.append(
            f"## {name}\n\n{said}| setting | what it is | may be | default |\n|---|---|---|---|\n" + "\n".join(rows)
        )
    return "\n".join([_HEAD, "\n\n".join(sections), ""])


def _told(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of the class."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    told: dict[str, str] = {}
    field: str | None = None
    for statement in definition.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                field = name
            case ast.Expr(value=ast.Constant(value=str(text))) if field is not None:
                told[field] = _one_line(text)
            case _:
                field = None
    return told


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _may_be(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(said for one in schema["anyOf"] if (said := _may_be(one)))
    if schema.get("type") == "null":
        return "null"
    if values := schema.get("enum") or [one for one in [schema.get("const")] if one is not None]:
        return ", ".join(f"`{value}`" for value in values)
    said = _FORMS.get(schema.get("format", "")) or _WORDS[schema["type"]]
    return " ".join([said, *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    for name, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"),
                       ("exclusiveMaximum", "below")):  # fmt: skip
        if name in schema:
            yield f"{word} {schema[name]:,}" if isinstance(schema[name], int) else f"{word} {schema[name]:g}"


def _default(about: FieldInfo) -> str:
    if about.is_required():
        return "–"
    value = about.get_default(call_default_factory=True)
    return f"`{value}`" if isinstance(value, Path) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(page())
