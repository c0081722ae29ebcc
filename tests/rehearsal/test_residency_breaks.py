"""Ten changes that take data abroad without looking like it, each stopped by `trainyard review`, which says where to.

All ten come together here, in one review, which costs as much as one of them: before, each is right; after, each takes
data abroad. `RESIDENCY_BREAKS=alone` reviews each by itself as well, in the environment it is for, in both variants:
20 reviews, of some 70 processor seconds each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .residency_breaks.checkout import CHANGES, Checkout, filled

TOGETHER = "dev"
"""The environment that comes up soonest."""
BY_NAME = pytest.mark.parametrize("name", CHANGES)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the review says, in every format."""
    folder = tmp_path_factory.mktemp("together")
    checkout = Checkout.of_this_repository(folder / "checkout")
    checkout.change(CHANGES, TOGETHER, "home")
    checkout.commit("Ten changes, each of them right")
    checkout.back("HEAD~1")
    checkout.change(CHANGES, TOGETHER, "abroad")
    done = checkout.review(TOGETHER, "--output", str(folder / "review"))
    assert done.returncode == 1, done.stderr[-3000:]
    return folder / "review"


@pytest.fixture(scope="module")
def findings(reviewed: Path) -> list[Mapping[str, Any]]:
    (environment,) = json.loads((reviewed / "review.json").read_text())["environments"]
    return environment["findings"]


@BY_NAME
def test_change_is_stopped_and_told_in_full(name: str, reviewed: Path, findings: list[Mapping[str, Any]]) -> None:
    expected = stopped(name, TOGETHER)
    (found,) = (one for one in findings if is_expected(one, expected))

    assert (found["standing"], found["level"], found["verdict"]) == ("new", "mandatory", "violation")
    assert "there may stand us-east-1" in found["message"]
    for file in ("review.txt", "review.md"):
        assert is_told(expected, (reviewed / file).read_text().splitlines()), file


def test_the_same_changes_without_the_breaks_pass(findings: list[Mapping[str, Any]]) -> None:
    before = [one for one in findings if one["standing"] != "new" and one["level"] == "mandatory"]

    assert [f"{one['rule']}: {one['name']}: {one['message']}" for one in before] == []


def test_what_is_not_emulated_is_told_as_such(reviewed: Path) -> None:
    assert "not tried, for it is not emulated: " in (reviewed / "review.txt").read_text()


@pytest.mark.skipif(os.environ.get("RESIDENCY_BREAKS") != "alone", reason="20 reviews: RESIDENCY_BREAKS=alone")
@pytest.mark.timeout(4 * 1800)
@BY_NAME
def test_change_is_stopped_alone_and_passes_without_the_break(name: str, tmp_path: Path) -> None:
    environment = CHANGES[name]["environment"]
    checkout = Checkout.of_this_repository(tmp_path / "checkout")
    checkout.change([name], environment, "home")
    done = checkout.review(environment)
    assert done.returncode == 0, done.stdout

    checkout.back()
    checkout.change([name], environment, "abroad")
    done = checkout.review(environment, "--format", "json")
    assert done.returncode == 1, done.stdout
    (told,) = json.loads(done.stdout)["environments"]
    (found,) = (one for one in told["findings"] if is_expected(one, stopped(name, environment)))
    assert (found["standing"], found["verdict"]) == ("new", "violation")


def stopped(name: str, environment: str) -> dict[str, str]:
    return {key: filled(text, name, environment) for key, text in CHANGES[name]["stopped"].items()}


def is_told(expected: Mapping[str, str], lines: list[str]) -> bool:
    """Whether a line says it of the resource, or of another, and the next one names this one as well."""
    of_it = f"{expected['rule']}: {expected['resource']}.{expected['property']}: "
    return any(
        of_it in line or (following.strip().startswith("also:") and expected["resource"] in following)
        for line, following in pairwise([*lines, ""])
        if expected["message"] in line and f"{expected['rule']}: " in line
    )


def is_expected(found: Mapping[str, Any], expected: Mapping[str, str]) -> bool:
    place = (found["rule"], found["name"], found["place"])
    return place == (expected["rule"], expected["resource"], expected["property"]) and (
        expected["message"] in found["message"]
    )
