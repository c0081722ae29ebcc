"""The page on writing a rule: its example is taken out of it and run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2_grpc

from trainyard.policies.case_check import departures
from trainyard.policies.cases import cases_of
from trainyard.policies.in_force import InForce, in_force
from trainyard.policies.rule import Verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-rule.md"
_FILE = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page's files are written into, each where the page says."""
    folder = tmp_path_factory.mktemp("page")
    for name, content in _FILE.findall(PAGE.read_text(encoding="utf-8")):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def judging(written: Path) -> InForce:
    return in_force(written / "policies").require_order()


def test_the_pages_rules_are_asked(judging: InForce) -> None:
    assert [one.rule.id for one in judging.own] == ["our-queue-keeps-messages", "our-queue-has-alarm"]


def test_the_pages_cases_are_judged_as_they_say(judging: InForce) -> None:
    judged = {}
    for one in judging.own:
        for case in cases_of(one.rule, one.folder):
            assert list(departures(one.rule, case)) == [], case.name
            judged.setdefault(one.rule.id, set()).add(case.verdict)

    assert judged["our-queue-keeps-messages"] == set(Verdict)
    assert judged["our-queue-has-alarm"] == {Verdict.PASSED, Verdict.VIOLATION}


def test_the_pages_pack_is_served_to_an_engine(written: Path) -> None:
    """As for `--policy-pack our-pack`, by who has the package and nothing else."""
    pack = written / "our-pack"
    (pack / "own_rules.yaml").write_text("folders: [../our-rules]\n")
    command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:0", str(pack)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=written) as process:
        try:
            assert process.stdout is not None
            with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
                info = analyzer_pb2_grpc.AnalyzerStub(channel).GetAnalyzerInfo(empty_pb2.Empty(), timeout=30)
        finally:
            process.terminate()

    assert {"our-queue-has-alarm", "our-queue-keeps-messages", "kms-rotation"} <= {one.name for one in info.policies}
