"""Which account a rehearsal is in, and as whom its program runs: what the settings say of the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trainyard.local import foreign_state
from trainyard.local.engine import ACCOUNT_ID
from trainyard.local.prerequisites import sso_role_name
from trainyard.local.rehearsal import account_in, caller_in

OWN = "210987654321"
DEPLOY, ADMIN = f"arn:aws:iam::{OWN}:role/ci/deploy", f"arn:aws:iam::{OWN}:role/admin"


def file_with(folder: Path, **settings: Any) -> Path:
    file = folder / "Pulumi.lab.yaml"
    file.write_text(yaml.safe_dump({"config": {f"lab:{key}": value for key, value in settings.items()}}))
    return file


def test_the_account_is_the_one_that_the_settings_name(tmp_path):
    assert account_in(file_with(tmp_path, account_id=OWN)) == OWN
    assert account_in(file_with(tmp_path, account_id="mine")) is None
    assert account_in(file_with(tmp_path)) is None
    (tmp_path / "empty.yaml").write_text("")
    assert account_in(tmp_path / "empty.yaml") is None


@pytest.mark.parametrize(
    ("access", "role"),
    [
        ({"deployers": [DEPLOY], "administrators": [ADMIN]}, "deploy"),
        ({"administrators": [ADMIN, DEPLOY]}, "admin"),
        ({"administrators": ["Platform"]}, sso_role_name("Platform")),
        ({"administrators": [f"arn:aws:iam::{OWN}:user/me", ADMIN]}, "admin"),
    ],
    ids=["deployer first", "administrator", "permission set", "a user has no session"],
)
def test_the_program_runs_as_the_first_role_that_is_named_for_it(tmp_path, access, role):
    file = file_with(tmp_path, account_id=OWN, access=access)
    assert caller_in(file) == f"arn:aws:sts::{OWN}:assumed-role/{role}/rehearsal"


@pytest.mark.parametrize("settings", [{}, {"access": {}}, {"access": {"viewers": [ADMIN]}}, {"access": "everybody"}])
def test_without_one_it_runs_as_the_account_s_root(tmp_path, settings):
    assert caller_in(file_with(tmp_path, **settings)) is None


def test_a_state_moves_into_the_account_that_is_rehearsed():
    export = {"deployment": {"resources": [{"outputs": {"arn": f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:a"}}]}}
    moved = foreign_state.of_account(export, OWN)
    assert moved["deployment"]["resources"][0]["outputs"]["arn"] == f"arn:aws:sns:us-east-1:{OWN}:a"
    assert foreign_state.of_account(export, None) == export
