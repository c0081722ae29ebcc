"""What a review says of levels and exemptions: each side's own, so that what a change brings is judged as new."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from trainyard.local.review import Side, classified, side
from trainyard.policies import exemptions

ROW = "{environment: dev, rule: kms-rotation, level: advisory, owner: me, reason: It is tried in dev before it counts.}"
EXPORT = {
    "deployment": {
        "resources": [{"urn": "urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev", "type": "pulumi:pulumi:Stack"}]
    }
}


def of(project: Path, rows: str) -> Side:
    (project / "policies").mkdir(parents=True)
    (project / "policies" / "levels.yaml").write_text(f"levels: [{rows}]\n")
    return side(project.name, EXPORT, project)


def test_a_lowered_level_is_new_and_one_that_is_taken_away_is_mended(tmp_path: Path) -> None:
    without, lowered = of(tmp_path / "without", ""), of(tmp_path / "lowered", ROW)

    new, fixed, standing = classified(without.results, lowered.results)
    assert [(result.rule.id, finding.level) for result, finding in new] == [("levels-in-force", "advisory")]
    assert "kms-rotation: advisory in dev (me: It is tried" in new[0][1].message
    assert (fixed, standing) == ([], [])
    assert [result.rule.id for result, _ in classified(lowered.results, without.results)[1]] == ["levels-in-force"]


def test_a_revision_from_before_there_were_levels_has_none(tmp_path: Path) -> None:
    assert side("old", EXPORT, tmp_path).results == ()


KEY = {
    "urn": "urn:pulumi:dev::p::aws:kms/key:Key::imported",
    "type": "aws:kms/key:Key",
    "custom": True,
    "inputs": {"enableKeyRotation": False},
    "outputs": {"enableKeyRotation": False},
}
WITH_KEY: dict[str, Any] = {"deployment": {"resources": [*EXPORT["deployment"]["resources"], KEY]}}
TODAY = exemptions.today()


def exempt(project: Path, *entries: tuple[str, int]) -> Side:
    """A checkout in which rotation of this key is exempt, for so many days from now."""
    (project / "policies").mkdir(parents=True)
    rows = [
        f"{{rule: kms-rotation, environment: dev, resource: {name}, owner: me, ticket: T-1, "
        f"reason: Its material was imported., expires: {TODAY + timedelta(days=days)}}}"
        for name, days in entries
    ]
    (project / "policies" / "exemptions.yaml").write_text(f"exemptions: [{', '.join(rows)}]\n")
    return side(project.name, WITH_KEY, project)


def rotation_and_register(found: list[Any]) -> list[tuple[str, bool]]:
    """Which of the two has something new, and whether that stops."""
    return [
        (result.rule.id, not finding.exemption)
        for result, finding in found
        if result.rule.id in ("kms-rotation", "exemptions-in-order")
    ]


def test_an_entry_that_a_change_brings_is_judged_with_it(tmp_path: Path) -> None:
    """One that has expired, and one for what is not there: neither stood before."""
    without = exempt(tmp_path / "without")
    for name, days in (("imported", -1), ("no-such-key", 10)):
        brought = exempt(tmp_path / name, (name, days))
        assert rotation_and_register(classified(without.results, brought.results)[0]) == [("exemptions-in-order", True)]


def test_an_entry_in_order_excuses_what_stood_and_one_taken_away_lets_it_stop(tmp_path: Path) -> None:
    without, with_one = exempt(tmp_path / "without"), exempt(tmp_path / "with", ("imported", 10))

    new, fixed, standing = classified(without.results, with_one.results)
    assert rotation_and_register(new) == rotation_and_register(fixed) == []
    assert ("kms-rotation", False) in rotation_and_register(standing)
    assert rotation_and_register(classified(with_one.results, without.results)[0]) == [("kms-rotation", True)]
