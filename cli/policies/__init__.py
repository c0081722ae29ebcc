"""`trainyard policies …`: which rules there are, what each wants, and what they say of a file, or of what
could go wrong."""

from __future__ import annotations

import typer

from trainyard.cli.policies.cases import judge_cases
from trainyard.cli.policies.check import check
from trainyard.cli.policies.listing import NoSuchRuleError, explain, list_
from trainyard.cli.policies.mutate import mutate

__all__ = ["NoSuchRuleError", "app"]

app = typer.Typer(no_args_is_help=True)
app.command("list")(list_)
app.command("explain")(explain)
app.command("test")(judge_cases)
app.command("check")(check)
app.command("mutate")(mutate)
