"""What a review says of levels: each side's own, so that what a change lowers is new."""

from __future__ import annotations

from pathlib import Path

from trainyard.local.review import Side, classified, side

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
