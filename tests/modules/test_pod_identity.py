"""Which pods take which role."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mocked_pulumi import ACCOUNT, run

from trainyard.modules.pod_identity import PodIdentity, PodIdentityArgs

ARGS = PodIdentityArgs("yard", "vision", "trainer", f"arn:aws:iam::{ACCOUNT}:role/vision", tags={"owner": "ml"})


def test_pods_of_the_service_account_take_the_role() -> None:
    made = run(lambda: PodIdentity("vision", ARGS)).one("aws:eks/podIdentityAssociation:PodIdentityAssociation").inputs
    assert (made["clusterName"], made["namespace"], made["serviceAccount"]) == ("yard", "vision", "trainer")
    assert made["roleArn"] == ARGS.role_arn
    assert made["tags"] == {"owner": "ml"}


@pytest.mark.parametrize("changes", [{"namespace": "*"}, {"namespace": ""}, {"service_account": "Trainer"}])
def test_what_is_no_kubernetes_name_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no wildcard"):
        replace(ARGS, **changes)
