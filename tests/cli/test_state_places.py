"""Where the repository says that Pulumi's state is kept, in a preview and in a review."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trainyard.cli import environments, state_places
from trainyard.cli.review import command
from trainyard.cli.review.model import Standing, environment_of
from trainyard.local import gate
from trainyard.local.gate_report import Report, Status
from trainyard.local.paths import ROOT
from trainyard.local.review import Comparison, Side, Source
from trainyard.local.revision import RevisionError
from trainyard.policies.rule import Level

SHIPPED = sorted(file.stem.removeprefix("Pulumi.") for file in (ROOT / "stacks" / "environments").glob("Pulumi.*.yaml"))
ABROAD = 'backend: {url: "s3://state?region=eu-west-1"}\n'
KEY = 'secretsprovider: "awskms://alias/state?region=eu-west-1"\n'


def source(folder: Path, *, about: str = "", own: str = "", layers: bool = False) -> Source:
    """A checkout whose environment prod-uae is the shipped one, with more in its two files."""
    environment_file = ROOT / "stacks" / "environments" / "Pulumi.prod-uae.yaml"
    (folder / "stacks" / "environments").mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text("name: trainyard\n" + about)
    mine = folder / "stacks" / "environments" / environment_file.name
    mine.write_text(own + environment_file.read_text() + ("  trainyard:layers: true\n" if layers else ""))
    return Source(folder.name, folder, *environments.read("prod-uae", mine))


def told(one: Source) -> list[tuple[str, str]]:
    results = state_places.judged("prod-uae", one.project, one.settings, one.file)
    return [(result.rule.id, finding.message) for result in results for finding in result.findings]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_environments_have_nothing_that_stops(name: str) -> None:
    _, settings = environments.read(name, environments.environment_file(name, ROOT))

    findings = [one for result in state_places.judged(name, ROOT, settings) for one in result.findings]

    assert [one.level for one in findings] == ([Level.ADVISORY] if name == "prod-uae" else [])


def test_backend_and_key_are_read_where_pulumi_reads_them(tmp_path: Path) -> None:
    found = told(source(tmp_path / "head", about=ABROAD, own=KEY))

    assert [rule for rule, _ in found] == ["transfer-state-backend", "transfer-state-key"]
    assert all("is in eu-west-1: personal data" in message for _, message in found)


def test_layers_have_files_of_their_own(tmp_path: Path) -> None:
    one = source(tmp_path / "head", about=ABROAD, layers=True)
    (one.project / "stacks" / "environments" / "Pulumi.prod-uae-cluster.yaml").write_text(KEY)

    assert [rule for rule, _ in told(one)] == ["transfer-state-backend", "transfer-state-key"]


def test_preview_is_no_longer_clean(tmp_path: Path) -> None:
    one = source(tmp_path / "head", about=ABROAD)
    clean = Report("prod-uae", "me-central-1", Status.CLEAN)

    report = gate.with_more(clean, state_places.judged("prod-uae", one.project, one.settings))

    assert (report.status, report.status.exit_status) == (Status.VIOLATIONS, 1)
    assert [(found.policy, found.level) for found in report.policies] == [("transfer-state-backend", "mandatory")]


def test_review_tells_a_change_of_the_backend_as_new_and_stops_it(tmp_path: Path) -> None:
    base, head = source(tmp_path / "base", own=KEY), source(tmp_path / "head", about=ABROAD, own=KEY)
    compared = Comparison("prod-uae", "me-central-1", Side("base", (), (), {}), Side("head", (), (), {}), ())

    environment = environment_of(command._with_state_places(compared, base, head))

    assert [one.rule for one in environment.of(Standing.NEW)] == ["transfer-state-backend"]
    assert [one.rule for one in environment.of(Standing.STANDING)] == ["transfer-state-key"]
    assert [one.rule for one in environment.of(Standing.FIXED)] == ["transfer-state-backend"]
    assert environment.exit_status == 1


def _git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def test_beside_an_exported_state_what_the_base_has_wrong_with_the_backend_stands(tmp_path: Path) -> None:
    """The state does not say where it was kept; the revision that is compared with does."""
    head = source(tmp_path / "head", about=ABROAD, own=KEY)
    _git(head.project, "init", "-q")
    _git(head.project, "add", "-A")
    _git(head.project, "commit", "-qm", "as it stands")
    compared = Comparison("prod-uae", "me-central-1", Side("state", (), (), {}), Side("head", (), (), {}), ())

    kept = command._kept_at(command.BASE, head.project, tmp_path / "base")("prod-uae", head)
    environment = environment_of(command._with_state_places(compared, kept, head))

    assert [one.rule for one in environment.of(Standing.NEW)] == []
    assert [one.rule for one in environment.of(Standing.STANDING)] == ["transfer-state-backend", "transfer-state-key"]


def test_beside_an_exported_state_no_repository_is_needed(tmp_path: Path) -> None:
    head = source(tmp_path / "head", about=ABROAD)

    assert command._kept_at(command.BASE, head.project, tmp_path / "base")("prod-uae", head) is None
    with pytest.raises(RevisionError):
        command._kept_at("main", head.project, tmp_path / "base")
