"""A change to what judges is told of: both sides are judged by it, so no finding would show it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from trainyard.cli import environments
from trainyard.cli.environments import SettingsError
from trainyard.cli.review import judging, markdown, page, sarif, text
from trainyard.cli.review.model import Environment, Review

REGIONS = "environments:\n  dev: [us-east-1]\n  prod: [eu-west-1]\n"


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    """A revision and the one after it, which are alike."""
    for name in ("base", "head"):
        write(tmp_path / name / "policies" / "regions.yaml", REGIONS)
        write(tmp_path / name / "policies" / "rules" / "keys.py", "def rotation():\n    return True\n")
        write(tmp_path / name / "policies" / "cases" / "kms-rotation.yaml", "good: []\n")
    return tmp_path / "base", tmp_path / "head"


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_of_policies_that_stay_nothing_is_told(checkouts: tuple[Path, Path]) -> None:
    _, head = checkouts
    write(head / "policies" / "cases" / "kms-rotation.yaml", "good: [{}]\n")  # an example judges nothing

    assert judging.changed(*checkouts) == ()


def test_a_table_is_told_line_by_line_and_a_rule_by_how_much_of_it(checkouts: tuple[Path, Path]) -> None:
    _, head = checkouts
    write(head / "policies" / "regions.yaml", REGIONS.replace("[eu-west-1]", "[eu-west-1, us-west-2]"))
    write(head / "policies" / "rules" / "keys.py", "def rotation():\n    return\n    yield\n")

    regions, keys = judging.changed(*checkouts)

    assert regions.summary == "policies/regions.yaml: 1 line more, 1 less"
    assert ("+", "  prod: [eu-west-1, us-west-2]") in regions.lines
    assert keys.summary == "policies/rules/keys.py: 2 lines more, 1 less"
    assert keys.lines == ()


def test_files_that_come_and_go_count_and_so_do_a_team_s_own_rules(checkouts: tuple[Path, Path]) -> None:
    base, head = checkouts
    (head / "policies" / "regions.yaml").unlink()
    write(base / "policies" / "own_rules.yaml", "folders: [../our-rules]\n")
    write(base / "our-rules" / "queues.py", "ours = True\n")
    write(head / "policies" / "exemptions.yaml", "exemptions: []")

    assert [one.summary for one in judging.changed(base, head)] == [
        "our-rules/queues.py: 1 less",
        "policies/exemptions.yaml: 1 line more",
        "policies/own_rules.yaml: 1 less",
        "policies/regions.yaml: 3 less",
    ]


def test_every_format_tells_it_and_what_has_no_settings_any_more(checkouts: tuple[Path, Path]) -> None:
    base, head = checkouts
    write(head / "policies" / "regions.yaml", REGIONS + "  <i>`x`: [```]\n")
    found = Review(
        "main",
        "working tree",
        (Environment("dev", "us-east-1"),),
        judging.changed(base, head),
        gone=("research",),
        ahead=2,
    )
    shown = io.StringIO()
    text.show(found, Console(file=shown, width=200))
    comment, whole = markdown.render(found), page.render(found)

    for written in (shown.getvalue(), comment, whole):
        assert "What judges has changed" in written
        assert "policies/regions.yaml: 1 line more" in written
        assert "research: it has no settings any more" in written
        assert "main has 2 commits that are not in this branch" in written
    assert "<i>" not in whole
    assert comment.count("```") % 2 == 0
    told = json.loads(json.dumps(found.as_json()))
    assert told["judging"][0]["added"] == 1
    assert told["gone"] == ["research"]
    assert len(sarif.render(found)["runs"][0]["invocations"][0]["toolExecutionNotifications"]) == 3
    assert found.exit_status == 0  # whether that is wanted, only a person knows


def test_an_exported_state_is_said_to_be_one() -> None:
    comment = markdown.render(Review("state.json", "working tree", (Environment("dev", "us-east-1"),), applied=False))

    assert "previewed on top of the exported state" in comment
    assert "changed there" not in comment


def settings(**changes: object) -> dict[str, object]:
    file = environments.environment_file("dev", Path(__file__).parents[2])
    values = environments.read_values(file) | {f"trainyard:{key}": value for key, value in changes.items()}
    return {key: value for key, value in values.items() if value is not None}


def test_settings_of_an_earlier_program_are_read_as_far_as_today_s_knows_them() -> None:
    """One setting was taken away since, and another is asked for since."""
    today = settings()
    earlier = settings(since_removed=True, owner=None, account_id="210987654321", network={"nat": "none"})
    with pytest.raises(SettingsError):
        environments.parse("dev", earlier, "")

    read = environments.nearest("dev", earlier, today)

    assert read.account_id == "210987654321"
    assert read.owner == today["trainyard:owner"]
