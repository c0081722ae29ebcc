"""An exported state made fit for a throw-away account."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainyard.local.engine import ACCOUNT_ID
from trainyard.local.foreign_state import NOWHERE, ForeignStateError, account_of, read
from trainyard.local.shown_values import SECRET

SECRET_KEY = "4dabf18193072939515e22adb298388d"
SEALED = {SECRET_KEY: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "AAAA"}
THEIRS, OTHER = "210987654321", "555555555555"


def resource(name: str, **outputs: Any) -> dict[str, Any]:
    return {
        "urn": f"urn:pulumi:production::trainyard::aws:sns/topic:Topic::{name}",
        "type": "aws:sns/topic:Topic",
        "outputs": outputs,
    }


def export(*resources: dict[str, Any]) -> str:
    deployment = {"resources": list(resources), "pending_operations": [{"type": "creating"}], "secrets_providers": {}}
    return json.dumps({"version": 3, "deployment": deployment})


ALERTS = resource(
    "alerts",
    arn=f"arn:aws:sns:us-east-1:{THEIRS}:alerts",
    endpoint="https://0A1B2C.gr7.us-east-1.eks.amazonaws.com",
    password=SEALED,
)
COST = resource("cost", arn=f"arn:aws:sns:us-east-1:{THEIRS}:cost", policy=f"arn:aws:iam::{OTHER}:root")
SHARED = resource("shared", arn=f"arn:aws:sns:us-east-1:{OTHER}:shared")


def test_nothing_of_the_place_it_comes_from_is_left_to_reach() -> None:
    text = export(ALERTS, COST, SHARED)
    taken = read(text, "trainyard", "prod-us")["deployment"]
    alerts, cost, _ = taken["resources"]

    assert alerts["urn"] == "urn:pulumi:prod-us::trainyard::aws:sns/topic:Topic::alerts"
    assert alerts["outputs"]["arn"] == f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:alerts"
    assert alerts["outputs"]["endpoint"] == NOWHERE
    assert json.loads(alerts["outputs"]["password"]["plaintext"]) == SECRET
    assert cost["outputs"]["policy"] == f"arn:aws:iam::{OTHER}:root"
    assert "pending_operations" not in taken
    assert "secrets_providers" not in taken
    assert "ciphertext" not in json.dumps(taken)


def test_the_account_is_that_of_most_resources() -> None:
    assert account_of([SHARED, ALERTS, COST]) == THEIRS
    assert account_of([resource("none")]) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no exported state"),
        ("[]", "no exported state"),
        ('{"deployment": {"resources": []}}', "no exported state"),
        (export(ALERTS).replace("::trainyard::", "::website::"), "a state of website"),
    ],
)
def test_what_is_no_state_of_this_project_is_refused(text: str, why: str) -> None:
    with pytest.raises(ForeignStateError, match=why):
        read(text, "trainyard", "prod-us")
