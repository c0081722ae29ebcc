"""`trainyard doctor ENV`: whether a real account can take the environment, before the first `pulumi up`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from trainyard.cli import environments, output
from trainyard.cli.progress import console, step

if TYPE_CHECKING:
    from trainyard.cli.aws_session import Account
    from trainyard.cli.doctor.finding import Finding
    from trainyard.stacks.settings import Settings

_COLOURS = {"fine": "green", "warning": "yellow", "failed": "red", "unknown": "yellow"}


def doctor(
    environment: Annotated[str, typer.Argument(help="Name of the environment, such as prod-us.")],
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")
    ] = False,
) -> None:
    """Look at the account that your credentials lead to; changes nothing.

    Exit status: 0 nothing that was looked at is missing, 1 something is, 2 no credentials, no network, wrong account or
    settings. What may not be asked is told as unknown.
    """
    from trainyard.cli.aws_session import RefusedByAwsError, account, told
    from trainyard.cli.doctor.finding import Finding, Verdict
    from trainyard.local.paths import require_checkout

    file = environments.environment_file(environment, require_checkout())
    _, settings = environments.read(environment, file)
    found = account(settings.region, settings.account_id)
    findings: list[Finding] = []
    checks = _checks()
    if not found.region_answers:
        checks = {"region": checks["region"], "the region's own": _unanswered}
    for title, check in checks.items():
        with step(title):
            try:
                with told():
                    findings.extend(check(found, settings))
            except RefusedByAwsError as refused:  # the other checks can still say something
                findings.append(
                    Finding(title, "all of it", Verdict.UNKNOWN, str(refused), "allow this call, and ask again")
                )
    failed = [one for one in findings if one.verdict is Verdict.FAILED]
    if json_output:
        told_of = {"account": found.id, "caller": found.caller_arn, "region": found.region, "environment": environment}
        output.tell({**told_of, "findings": [asdict(one) for one in findings]})
    else:
        _show(found, findings)
    raise typer.Exit(1 if failed else 0)


def _unanswered(account: Account, settings: Settings) -> Iterator[Finding]:
    from trainyard.cli.aws_session import region_is_off
    from trainyard.cli.doctor.finding import Finding, Verdict

    said = "takes no credentials of this account, so nothing else was looked at"
    yield Finding("region", account.region, Verdict.FAILED, said, region_is_off(settings.region))


def _checks() -> dict[str, Callable[[Account, Settings], Iterator[Finding]]]:
    from trainyard.cli.doctor import capacity, identity, quotas, services

    return {
        "region": identity.region,
        "zones": identity.zones,
        "instance types": capacity.offerings,
        "EFA interfaces": capacity.efa,
        "reservations": capacity.reservations,
        "add-on builds": services.addons,
        "endpoint services": services.endpoints,
        "quotas": quotas.check,
        "service-linked roles": identity.service_linked_roles,
        "people's roles": identity.people,
        "trail": identity.trail,
        "permissions": identity.permissions,
    }


def _show(account: Account, findings: list[Finding]) -> None:
    shown = Table(title=f"account {account.id}, {account.region}", title_justify="left", title_style="bold")
    for column in ("", "what", "how it stands"):
        shown.add_column(column, overflow="fold")
    for one in findings:
        colour = _COLOURS[one.verdict]
        said = one.said + (f"\n→ {one.remedy}" if one.remedy else "")
        shown.add_row(f"[{colour}]{one.verdict}[/{colour}]", f"{one.check}: {one.subject}", said)
    console.print(shown)
