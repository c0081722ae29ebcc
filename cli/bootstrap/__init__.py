"""`trainyard bootstrap ENV`: what has to stand in a real account before the first `pulumi up`."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

import typer

from trainyard.cli import environments, output
from trainyard.cli.progress import console, table

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def bootstrap(
    environment: Annotated[str, typer.Argument(help="Name of the environment, such as prod-us.")],
    repository: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="GitHub repository whose workflows may preview and deploy."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON; takes --yes.")] = False,
) -> None:
    """Make the state's bucket and key and, for a repository, the roles of its pipeline. Safe to run again."""
    from trainyard.cli.aws_session import account, told
    from trainyard.cli.bootstrap import steps
    from trainyard.local.paths import require_checkout

    if repository is not None and not _REPOSITORY.fullmatch(repository):
        raise typer.BadParameter(f"{repository} is no repository; it is written owner/name", param_hint="--repository")
    if json_output and not yes:
        raise typer.BadParameter("--json does not ask, so it takes --yes", param_hint="--json")
    file = environments.environment_file(environment, require_checkout())
    _, settings = environments.read(environment, file)
    plan = steps.Plan(account(settings.region, settings.account_id), environment, settings.tags, repository)
    console.print(f"account {plan.account.id} as {plan.account.caller_arn}, region {settings.region}", markup=False)
    if not yes:
        typer.confirm(f"Make the bucket {plan.bucket}, its key and the pipeline's roles there?", abort=True)

    with told():
        done = steps.run(
            plan, lambda one: console.print(f"{'made  ' if one.made else 'stands'}  {one.what}: {one.id}", markup=False)
        )
    key = next(one.id for one in done if "key" in one.what)
    login = f"pulumi login 's3://{plan.bucket}?region={settings.region}&awssdk=v2'"
    init = f"pulumi stack init {environment} --secrets-provider 'awskms:///{key}?region={settings.region}'"
    if json_output:
        output.tell({"made": [asdict(one) for one in done], "login": login, "stack_init": init})
        return
    rows = [("log in", login), ("make the stack", init), ("check the account", f"trainyard doctor {environment}")]
    if repository is None:
        rows.append(("a pipeline's roles", f"trainyard bootstrap {environment} --repository OWNER/NAME"))
    console.print(table("next", rows))
