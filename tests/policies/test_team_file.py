"""What a team writes about the policies, with the mistakes that people and merges make: each is refused, in words that
name the file, and nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainyard.policies import exemptions, levels, own_rules
from trainyard.policies.accounts import load as load_accounts
from trainyard.policies.residency.jurisdictions import load_jurisdictions
from trainyard.policies.retention import load as load_retention
from trainyard.policies.rules.regions import load_table

POLICIES = Path(__file__).parents[2] / "policies"
TEAM = {"exemptions.yaml": exemptions.load, "levels.yaml": levels.load, "own_rules.yaml": own_rules.folders_in}
TABLES = {
    "regions.yaml": load_table,
    "trusted_accounts.yaml": load_accounts,
    "retention.yaml": load_retention,
    "jurisdictions.yaml": load_jurisdictions,
}
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, one in zip("abcdefg", "bcdefgh", strict=True)  # 9 to the 8th values, when unfolded
)
each_file = pytest.mark.parametrize(("name", "load"), TEAM.items())


@each_file
def test_what_is_there_and_no_file_is_refused(name: str, load: Callable[[Path], Any], tmp_path: Path) -> None:
    file = tmp_path / name
    assert not load(file)  # not there at all: a team need not have one

    file.symlink_to("nowhere.yaml")
    with pytest.raises(ValueError, match=f"{name} cannot be read: No such file"):
        load(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(ValueError, match=f"{name} cannot be read: Is a directory"):
        load(file)


@each_file
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"KEY: []\nother: 1\nKEY: []\n", "KEY stands in it twice, the second time in line 3"),
        (b"[" * 5_000, "nested too deeply"),
        (BOMB.encode(), "more than 20000 values"),
        (b"\xff\xfeK\x00", "not in UTF-8"),
        (b"day: 2027-02-30\n", "day is out of range"),
        (b"KEY: []\n---\nKEY: []\n", "single document"),
    ],
    ids=["twice", "deep", "bomb", "encoding", "day", "two"],
)
def test_what_yaml_cannot_say_is_refused(
    name: str, load: Callable[[Path], Any], content: bytes, why: str, tmp_path: Path
) -> None:
    key = "folders" if name == own_rules.FILE else name.removesuffix(".yaml")
    (tmp_path / name).write_bytes(content.replace(b"KEY", key.encode()))

    with pytest.raises(ValueError, match=f"{name}.*{why.replace('KEY', key)}"):
        load(tmp_path / name)


@pytest.mark.parametrize(("name", "load"), TABLES.items())
def test_a_key_that_stands_twice_in_a_table_allows_nothing(
    name: str, load: Callable[[Path], Any], tmp_path: Path
) -> None:
    text = (POLICIES / name).read_text(encoding="utf-8")
    first = next(line for line in text.splitlines() if line and line[0].isalpha())
    (tmp_path / name).write_text(f"{text}\n{first.partition(':')[0]}: {{}}\n", encoding="utf-8")

    with pytest.raises(ValueError, match=f"{name}.*stands in it twice"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("", r"exemptions\[0\]: must have keys"),
        ("{rule: a, day: 1}", r"exemptions\[0\].environment: is missing.*exemptions\[0\].day: is no key that may"),
        ("{rule: 7}", r"exemptions\[0\].rule: must be a text"),
        ("{reason: short}", r"exemptions\[0\].reason: must have at least 15 characters"),
        ("{expires: tomorrow}", r"exemptions\[0\].expires: must be a day, such as 2027-01-31"),
    ],
)
def test_faults_are_told_in_the_words_of_the_file(row: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "exemptions.yaml").write_text(f"exemptions:\n  - {row}\n", encoding="utf-8")

    with pytest.raises(ValueError, match=why) as refused:
        exemptions.load(tmp_path / "exemptions.yaml")
    assert "pydantic" not in str(refused.value)
