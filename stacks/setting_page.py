"""The page of all settings, generated from their models.

python -m trainyard.stacks.setting_page > docs/settings.md
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainyard.stacks.schema import NAMESPACE
from trainyard.stacks.setting_errors import may_be, model_in
from trainyard.stacks.setting_model import Settings

_HEAD = f"""# All settings

Generated from the models (`python -m trainyard.stacks.setting_page > docs/settings.md`). Each key begins with
`{NAMESPACE}:` in `stacks/environments/Pulumi.<name>.yaml`; `[]` is an entry of a list. How to choose:
[Stand an environment up in AWS](environments.md).

| setting | what it is | may be | default |
|---|---|---|---|
"""


def page() -> str:
    """The page, as Markdown."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows(Settings))


def rows(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, str, str]]:
    """A row for each setting of `model`, then those inside it."""
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        example = f"such as {_code(field.examples[0])}" if field.examples and inner is None else ""
        description = (field.description or "").replace("|", "\\|")
        yield f"`{path}{name}`", description, may_be(field) or example or " ", _default(field)
        if inner is not None:
            yield from rows(inner, f"{path}{name}{'[]' if _is_list(field) else ''}.")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if isinstance(value, BaseModel):
        return "its own defaults"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return f"one named `{getattr(value[0], 'name', '')}`"
    return "none" if value is None or value == () else _code(value)


def _is_list(field: FieldInfo) -> bool:
    return typing.get_origin(field.annotation) is tuple


def _code(value: Any) -> str:
    return f"`{json.dumps(value) if isinstance(value, bool | list | tuple | dict) else value}`"


if __name__ == "__main__":
    print(page(), end="")
