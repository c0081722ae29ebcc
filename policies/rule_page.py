"""docs/rules.md: every rule with its controls, by subject.

python -m trainyard.policies.rule_page > docs/rules.md
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from trainyard.policies.in_force import in_force
from trainyard.policies.registry import SUBJECTS, rules_in
from trainyard.policies.residency import backend
from trainyard.policies.rule import Rule


def page() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    total = sum(len(rules_in(module)) for module in SUBJECTS)
    yield "# The rules"
    yield ""
    yield f"All {total} of them, by subject; made by `python -m trainyard.policies.rule_page`. Why a rule is there and"
    yield "what to write: `trainyard policies explain ID`. What passes and what does not: `policies/cases/ID.yaml`."
    yield "Advice stops nothing. Nothing here is legal advice."
    for module in SUBJECTS:
        rules = rules_in(module)
        yield ""
        yield f"## {_heading(module)}"
        yield ""
        yield "| rule | what holds | severity | controls |"
        yield "|---|---|---|---|"
        yield from map(_row, rules)
    judging = in_force()
    yield ""
    yield "## The pack itself, and where Pulumi keeps its state"
    yield ""
    yield "These judge files and not resources, and are not counted above."
    yield ""
    yield "| rule | what holds | severity | controls |"
    yield "|---|---|---|---|"
    yield from map(_row, (*judging.about_itself, judging.register().rule(), *backend.RULES))


def _heading(module: ModuleType) -> str:
    """What the module says of itself, in one line."""
    return " ".join((module.__doc__ or module.__name__).partition("\n\n")[0].split()).removesuffix(".")


def _row(rule: Rule) -> str:
    severity = f"{rule.severity}, advice" if rule.advice else str(rule.severity)
    controls = "; ".join(f"{name} {', '.join(ids)}" for name, ids in rule.controls.items())
    return f"| `{rule.id}` | {_cell(rule.title)} | {severity} | {_cell(controls)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
