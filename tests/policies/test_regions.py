"""The table of allowed regions: what it refuses, and how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainyard.policies.rules.regions import load_table, table


def test_each_environment_of_the_platform_has_its_regions() -> None:
    assert set(table().environments) == {"local", "dev", "research", "prod-us", "prod-uae"}
    assert table().environments["prod-uae"] == {"me-central-1"}
    assert all(region.startswith("us-") for region in table().environments["prod-us"])


@pytest.mark.parametrize(
    ("region", "environment", "reason"),
    [
        ("me-central-1", "prod-uae", None),
        ("us-east-1", "prod-uae", "may use me-central-1"),
        ("us-east-1", "prod-eu", "'prod-eu' has no row in policies/regions.yaml"),
        ("us-east-1", "", "'' has no row"),
    ],
)
def test_refusal_names_what_is_allowed(region: str, environment: str, reason: str | None) -> None:
    refusal = table().refusal(region, environment)

    assert refusal is None if reason is None else reason in str(refusal)


@pytest.mark.parametrize(
    ("resource_type", "regional"),
    [
        ("aws:s3/bucket:Bucket", True),
        ("aws:iam/role:Role", False),
        ("aws:route53/zone:Zone", False),
        ("aws:route53/resolverRule:ResolverRule", True),
        ("aws-native:iam:Role", False),
        ("aws-native:s3:Bucket", True),
        ("kubernetes:core/v1:Pod", False),
        ("pulumi:providers:aws", False),
    ],
)
def test_global_services_are_exempt_by_name(resource_type: str, regional: bool) -> None:
    assert table().regional(resource_type) is regional


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the keys must be"),
        ("environments: {}\nglobal_services: []\n", "the keys must be"),
        ("environments: []\nglobal_services: []\nregional_exceptions: []", "must name the regions"),
        ("environments: {dev: us-east-1}\nglobal_services: []\nregional_exceptions: []", r"environments.dev must be"),
        ("environments: {dev: ['*']}\nglobal_services: []\nregional_exceptions: []", r"environments.dev must be"),
    ],
)
def test_broken_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "regions.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=message):
        load_table(path)
