"""`trainyard bootstrap ENV`: what has to stand in a real account before the first `pulumi up`."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trainyard.cli import environments, output
from trainyard.cli.progress import console

if TYPE_CHECKING:
    from trainyard.cli.bootstrap.steps import Done

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


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
    from trainyard.cli.aws_session import AccountError, RefusedByAwsError, account, region_is_off, told
    from trainyard.cli.bootstrap import steps
    from trainyard.local.paths import require_checkout

    if repository is not None and not _REPOSITORY.fullmatch(repository):
        raise typer.BadParameter(f"{repository} is no repository; it is written owner/name", param_hint="--repository")
    if json_output and not yes:
        raise typer.BadParameter("--json does not ask, so it takes --yes", param_hint="--json")
    file = environments.environment_file(environment, require_checkout())
    _, settings = environments.read(environment, file)
    found = account(settings.region, settings.account_id)
    if not found.region_answers:
        raise AccountError(f"{found.region} takes no credentials of account {found.id}: {region_is_off(found.region)}")
    plan = steps.Plan(found, settings.environment, settings.tags, repository)
    console.print(f"account {found.id} as {found.caller_arn}, region {found.region}", markup=False)
    if not yes:
        typer.confirm(f"Make the bucket {plan.bucket}, its key and the pipeline's roles there?", abort=True, err=True)

    try:
        with told():
            done = steps.run(plan, _tell)
    except RefusedByAwsError as refused:
        raise RefusedByAwsError(f"{refused}\nWhat stands is kept: run the command again to go on from there.") from None
    key = next(one.id for one in done if "key" in one.what)
    login = f"pulumi login 's3://{plan.bucket}?region={settings.region}&awssdk=v2'"
    provider = f"--secrets-provider 'awskms:///{key}?region={settings.region}'"
    stacks = [f"{environment}-{layer}" for layer in settings.stack_layers] or [environment]
    init = " && ".join(f"pulumi stack init {stack} {provider}" for stack in stacks)
    if json_output:
        output.tell({"made": [asdict(one) for one in done], "login": login, "stack_init": init})
        return
    rows = [("log in", login), ("make the stack", init), ("check the account", f"trainyard doctor {environment}")]
    if repository is None:
        rows.append(("a pipeline's roles", f"trainyard bootstrap {environment} --repository OWNER/NAME"))
    console.print("next:", style="bold")
    for what, command in rows:
        console.print(f"  {command}    # {what}", markup=False, soft_wrap=True)  # whole, to be copied


def _tell(one: Done) -> None:
    how = "made  " if one.made else "mended" if one.repaired else "stands"
    what = f" ({', '.join(one.repaired)})" if one.repaired else ""
    console.print(f"{how}  {one.what}: {one.id}{what}", markup=False, soft_wrap=True)
