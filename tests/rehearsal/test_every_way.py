"""One environment judged in every way there is: by the engine before and while it is made, over the saved preview, and
over the exported state. A team's own rule, an exemption and a lowered level are in force in all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import own_rules
import pytest
import yaml
from typer.testing import CliRunner

from trainyard.cli.main import app
from trainyard.local.engine import EngineError
from trainyard.local.rehearsal import Rehearsal
from trainyard.policies.analyzer import is_exempt, level_told
from trainyard.policies.in_force import in_force
from trainyard.policies.rule import Level, Verdict

PROGRAM = Path(__file__).parent / "programs" / "lifecycle"
ANSWERED = {"owner": "platform@example.org", "reason": "The bucket is empty and is gone by the end of the test."}
EXEMPT = {"rule": "s3-public-access-block", "environment": "dev", "resource": "bucket", "ticket": "T-1", **ANSWERED}
LOWERED = {"environment": "dev", "rule": "network-default-group-owned", "level": "advisory", **ANSWERED}
DISABLED = {"environment": "dev", "rule": "s3-lifecycle", "level": "disabled", **ANSWERED}
SERVE = "from pathlib import Path\n\nfrom trainyard.policies.pack import serve\n\nserve(Path(__file__).parent)\n"

Found = tuple[str, str, str, str]
"""Rule, resource, verdict, and level: mandatory, advisory or exempt."""


@dataclass(frozen=True)
class Ways:
    """What was found in each way."""

    previewed: set[Found]
    brought_up: set[Found]
    saved: set[Found]
    exported: set[Found]


def write_pack(folder: Path) -> Path:
    """A pack as who installed the package has it: a folder of their own."""
    pack = own_rules.write(folder)
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (pack / "__main__.py").write_text(SERVE)
    (pack / "levels.yaml").write_text(yaml.safe_dump({"levels": [LOWERED, DISABLED]}))
    exemption = {**EXEMPT, "expires": date.today() + timedelta(days=30)}
    (pack / "exemptions.yaml").write_text(yaml.safe_dump({"exemptions": [exemption]}))
    return pack


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("ways")
    pack = write_pack(folder)
    advising = folder / "advising.json"  # the engine would stop at the first finding, and all are wanted
    advising.write_text(json.dumps({rule.id: {"stops": False} for rule in in_force(pack).require_order().served}))
    settings = folder / "Pulumi.dev.yaml"
    settings.write_text("config: {}\n")
    with Rehearsal(
        "dev", folder / "rehearsal", PROGRAM, settings, pack, False, policy_configuration=advising, throw_away=True
    ) as rehearsal:
        engine = rehearsal.engine()
        previewed = engine.run("preview", "--json", "--policy-pack-config", str(advising), policy_pack=pack)
        saved = folder / "preview.json"
        saved.write_bytes((engine.home / "preview.log").read_bytes())
        brought_up = rehearsal.up()
        exported = folder / "export.json"
        exported.write_text(json.dumps(rehearsal.export()))
        yield Ways(
            set(_by_engine(previewed.violations, pack)),
            set(_by_engine(brought_up.violations, pack)),
            set(_by_command(saved, pack)),
            set(_by_command(exported, pack)),
        )


def _by_engine(told: Iterable[Mapping[str, str]], pack: Path) -> Iterator[Found]:
    declared = {rule.id: rule.level for rule in in_force(pack).served}
    for one in told:
        message = one["message"]
        verdict = Verdict.UNVERIFIED if f"[{Verdict.UNVERIFIED}]" in message else Verdict.VIOLATION
        level = "exempt" if is_exempt(message) else level_told(message, declared.get(one["policy"], Level.MANDATORY))
        yield one["policy"], one["urn"].rpartition("::")[2], str(verdict), str(level)


def _by_command(file: Path, pack: Path) -> Iterator[Found]:
    done = CliRunner().invoke(
        app, ["policies", "check", str(file), "--pack", str(pack), "--format", "json"], catch_exceptions=False
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == report["exit_status"] == 1
    for one in report["findings"]:
        yield one["rule"], one["name"], one["verdict"], one["level"]


def test_a_saved_preview_is_judged_as_the_engine_judges_the_preview(ways: Ways) -> None:
    assert ways.saved == ways.previewed


def test_an_exported_state_is_judged_as_the_engine_judges_what_it_makes(ways: Ways) -> None:
    assert ways.exported == ways.brought_up


def test_a_preview_differs_only_in_what_it_cannot_know_yet(ways: Ways) -> None:
    before, after = ways.previewed, ways.brought_up
    unverified = {(rule, resource) for rule, resource, verdict, _ in before if verdict == Verdict.UNVERIFIED}

    assert {verdict for _, _, verdict, _ in before - after} == {Verdict.UNVERIFIED}
    assert {(rule, resource) for rule, resource, _, _ in after - before} <= unverified
    assert Verdict.UNVERIFIED not in {verdict for _, _, verdict, _ in after}


def test_what_a_team_wrote_counts_in_every_way(ways: Ways) -> None:
    for found in (ways.previewed, ways.brought_up, ways.saved, ways.exported):
        assert ("team-queue-named", "queue", "violation", "mandatory") in found
        assert ("s3-public-access-block", "bucket", "violation", "exempt") in found
        assert ("network-default-group-owned", "vpc", "violation", "advisory") in found
        assert not any(rule == "s3-lifecycle" for rule, *_ in found)
        assert ("levels-in-force", "lifecycle-dev", "violation", "advisory") in found
        assert not any(rule in ("pack-in-order", "exemptions-in-order") for rule, *_ in found)


def test_a_rule_that_cannot_be_asked_stops_an_up_before_anything_is_made(tmp_path: Path) -> None:
    pack = write_pack(tmp_path)
    (tmp_path / "our-rules" / "broken.py").write_text("import nothing_of_that_name\n")
    settings = tmp_path / "Pulumi.dev.yaml"
    settings.write_text("config: {}\n")
    with Rehearsal("dev", tmp_path / "rehearsal", PROGRAM, settings, pack, False, throw_away=True) as rehearsal:
        with pytest.raises(EngineError, match="nothing_of_that_name") as stopped:
            rehearsal.up()
        made = [one["urn"] for one in rehearsal.export()["deployment"].get("resources") or ()]

    assert [one["policy"] for one in stopped.value.result.mandatory] == ["pack-in-order"]
    assert [urn for urn in made if "aws:" in urn.rpartition("::")[0]] == []
