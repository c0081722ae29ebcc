"""`make verify-aws ENV=dev`: the assertions of the rehearsal, in a real account that the environment stands in.

    python tests/standing/verify.py dev

Exit status: 0 all hold, 1 one does not, 2 there is no account or no stack to look at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from trainyard.cli import environments
from trainyard.cli.aws_session import AccountError, RefusedByAwsError, account
from trainyard.local.paths import require_checkout

HERE = Path(__file__).parent
WOULD = (
    "With an account this would read, and change nothing: the stack's outputs (pulumi stack output --json), buckets, "
    "keys and their policies, queue and rules, network and endpoints, registry and image mirror, budget, topics and "
    "alarms, backups, cluster, access entries, add-ons, node groups with their launch templates and scheduled sizes, "
    "the file system, and through the Kubernetes API the teams' namespaces, job templates and the device plugins. The "
    "same assertions hold in a rehearsal: .venv/bin/pytest tests/standing"
)


def main(arguments: list[str]) -> int:
    """Verify the environment that `arguments` name."""
    if len(arguments) != 1 or not arguments[0]:
        return _nothing("name an environment: make verify-aws ENV=dev")
    environment = arguments[0]
    try:
        file = environments.environment_file(environment, require_checkout())
        settings = environments.parse(environment, environments.read_values(file), str(file))
    except Exception as wrong:
        if getattr(wrong, "exit_status", None) is None and not isinstance(wrong, ValueError):
            raise
        return _nothing(str(wrong))
    try:
        found = account(settings.region, settings.account_id)
    except (AccountError, RefusedByAwsError) as none:
        return _nothing(f"there is no account to verify {environment} in: {none}\n{WOULD}")
    if shutil.which("pulumi") is None:
        return _nothing(f"pulumi is not on PATH, and says what stands in {environment}\n{WOULD}")
    print(f"reading {environment} in account {found.id}, {settings.region}, as {found.caller_arn}", flush=True)
    command = [sys.executable, "-m", "pytest", str(HERE), "-q", "--no-header", "-p", "no:cacheprovider"]
    run = subprocess.run(command, env={**os.environ, "TRAINYARD_VERIFY": environment}, check=False)
    return min(run.returncode, 1)


def _nothing(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
