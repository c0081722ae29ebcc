"""What of a plan was not read is said: silence about a resource would look like approval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.rule import Finding, Rule, Severity, stack_rule, violation

_STACK = "pulumi:pulumi:Stack"
# Providers whose resources stand in no account.
_ELSEWHERE = ("random_", "null_", "time_", "local_", "terraform_data", "template_", "archive_")


def unread_rule(unread: Mapping[str, int]) -> Rule:
    """Advises where resources of a plan could not be judged. `unread` counts them by type."""

    @stack_rule(
        "terraform-kinds-read",
        title="Every resource of a Terraform plan is of a kind that the rules can read",
        severity=Severity.LOW,
        applies={_STACK},
        controls={"NIST 800-53": ("CM-8",)},
        why="A resource that no rule has seen is not approved, though nothing is said against it.",
        remedy="""
# policies/terraform/types.yaml: a row for the type, then tools/terraform/make_table.py
""",
        advice=True,
    )
    def kinds_read(_stack: Resource, _graph: Graph) -> Iterator[Finding]:
        left = {kind: number for kind, number in sorted(unread.items()) if not kind.startswith(_ELSEWHERE)}
        if left:
            kinds = ", ".join(f"{kind} ({many})" for kind, many in left.items())
            number = sum(left.values())
            said = f"{number} resources of kinds that were" if number > 1 else "1 resource of a kind that was"
            yield violation(f"{said} not read: {kinds}")

    return kinds_read
