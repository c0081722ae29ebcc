"""A team's own rule that ends its process, never ends, or takes all there is: a finding, and nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from own_rules import CASES, SOUND, write
from waiting import wait_until

from trainyard.policies.cases import stack
from trainyard.policies.in_force import BrokenPackError, InForce, in_force
from trainyard.policies.rule import Verdict, evaluate
from trainyard.policies.testing import Diagnostic, Harness

QUEUES = stack([{"type": "aws:sqs/queue:Queue", "name": name, "props": {"name": "jobs"}} for name in ("q", "r")], "dev")
OTHER = SOUND.replace("team-queue-named", "team-queue-known")
_TRIES = "    yield violation"


def _pack(folder: Path, does: str, *, seconds: float = 60) -> Path:
    """A pack with one rule that does something odd before it finds anything, and one that is sound."""
    source = SOUND.replace(_TRIES, f"    {does}\n{_TRIES}")
    assert source != SOUND
    pack = write(folder, source)
    (pack / "own_rules.yaml").write_text(f"folders: [../our-rules]\nseconds: {seconds}\n")
    rules = folder / "our-rules"
    (rules / "sound.py").write_text(OTHER)
    (rules / "cases" / "team-queue-known.yaml").write_text(CASES)
    return pack


def _told(judging: InForce) -> dict[str, list[Diagnostic]]:
    own = [one.rule.id for one in judging.own]
    said = Harness(judging=judging).analyze(QUEUES).diagnostics
    return {name: [one for one in said if one.policy == name] for name in own}


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("__import__('os')._exit(0)", "it ended its process with exit status 0"),
        ("__import__('os').abort()", "it ended its process by SIGABRT"),
        ("__import__('ctypes').string_at(0)", "it ended its process by SIGSEGV"),
    ],
)
def test_a_rule_that_ends_its_process_is_a_finding_and_the_rest_go_on(tmp_path: Path, does: str, said: str) -> None:
    found = _told(in_force(_pack(tmp_path, does)))

    assert said in found["team-queue-named"][0].message
    assert "not asked again" in found["team-queue-named"][1].message
    assert [one.level for one in found["team-queue-named"]] == ["mandatory", "mandatory"]
    assert len(found["team-queue-known"]) == 2


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("raise SystemExit(0)", "it raises SystemExit, which ends no judgement"),
        ("raise KeyboardInterrupt", "it raises KeyboardInterrupt, which ends no judgement"),
        ("bytearray(1 << 40)", "MemoryError"),
        ("taken = [bytes(1 << 26) for _ in range(1000)]", "MemoryError"),
        ("yield from (violation(str(one)) for one in iter(int, 1))", "finds more than 1000 things"),
        ("yield violation('x' * 10**8)", "has more than 10000 characters"),
        ("__import__('sys').stdout.write('{}\\n'); 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_rule_that_fails_is_asked_again_on_the_next_resource(tmp_path: Path, does: str, said: str) -> None:
    found = _told(in_force(_pack(tmp_path, does)))

    failures = [one for one in found["team-queue-named"] if "the rule itself failed" in one.message]
    assert {one.urn.rpartition("::")[2] for one in failures} == {"q", "r"}
    assert all(said in one.message for one in failures)
    assert len(found["team-queue-known"]) == 2


@pytest.mark.parametrize(
    "does",
    [
        "__import__('time').sleep(10**6)",
        "[None for _ in iter(int, 1) if False]",
        "[print('x' * 10**4) for _ in iter(int, 1)]",
    ],
    ids=["waits", "loops", "writes"],
)
def test_a_rule_that_never_ends_is_ended(tmp_path: Path, does: str, capfd: pytest.CaptureFixture[str]) -> None:
    (rule,) = (one.rule for one in in_force(_pack(tmp_path, does, seconds=3)).own if one.rule.id == "team-queue-named")
    graph = Harness(judging=InForce((rule,)))

    found = graph.analyze(QUEUES).diagnostics

    assert ["it takes more than 3 seconds" in one.message for one in found] == [True, True]
    written = capfd.readouterr()
    assert written.out == ""
    assert len(written.err) < 1 << 20


@pytest.mark.parametrize(
    "does",
    ["__import__('os').fork()", "__import__('os').fork() or __import__('time').sleep(600)"],
    ids=["both go on", "one waits"],
)
def test_a_rule_that_forks_is_answered_once(tmp_path: Path, does: str) -> None:
    found = _told(in_force(_pack(tmp_path, does)))

    for said in found.values():
        assert [one.urn.rpartition("::")[2] for one in said] == ["q", "r"]
        assert all("name: it does not begin with team-" in one.message for one in said)


@pytest.mark.parametrize("by", ["the pack", "a kill of the pack"])
def test_what_a_rule_has_started_ends_with_its_process(tmp_path: Path, by: str) -> None:
    note = tmp_path / "started"
    starts = f"__import__('subprocess').Popen(['sh', '-c', 'echo $$ >> {note}; exec sleep 600'])"
    threads = "__import__('threading').Thread(target=__import__('time').sleep, args=(600,)).start()"
    pack = _pack(
        tmp_path, f"{starts}; {threads}; open({str(note)!r}, 'a').write(f'{{__import__(\"os\").getpid()}}\\n')"
    )
    program = f"""
import os, signal, time
from pathlib import Path
from trainyard.policies.in_force import in_force
from trainyard.policies.cases import stack
from trainyard.policies.graph import Graph
from trainyard.policies.rule import evaluate
queues = stack([{{"type": "aws:sqs/queue:Queue", "name": "q", "props": {{"name": "jobs"}}}}], "dev")
list(evaluate([one.rule for one in in_force(Path({str(pack)!r})).own], Graph(queues)))
while len(Path({str(note)!r}).read_text().split()) < 2:
    time.sleep(0.01)
if {by == "a kill of the pack"}:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False, timeout=180)

    numbers = [int(one) for one in note.read_text().split()]
    assert len(numbers) == 2
    wait_until(lambda: not any(_is_alive(number) for number in numbers))


def _is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_half_a_character_in_what_a_rule_says_is_no_mishap(tmp_path: Path) -> None:
    found = _told(in_force(_pack(tmp_path, "yield violation(chr(0xd800)); raise ValueError(chr(0xd800))")))

    said = [one.message.encode().decode() for one in found["team-queue-named"]]
    assert ["ValueError: ?" in one for one in said] == [False, True, False, True]
    assert len(found["team-queue-known"]) == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\nos._exit(3)\n", "it ended its process with exit status 3"),
        ("import time\ntime.sleep(10**6)\n", "it takes more than 3 seconds"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_problem_and_the_others_are_served(
    tmp_path: Path, source: str, said: str
) -> None:
    pack = write(tmp_path)
    (pack / "own_rules.yaml").write_text("folders: [../our-rules]\nseconds: 3\n")
    (tmp_path / "our-rules" / "broken.py").write_text(source)

    judging = in_force(pack)

    assert len(judging.problems) == 1
    assert f"broken.py: it cannot be imported: {said}" in judging.problems[0]
    with pytest.raises(BrokenPackError):
        judging.require_order()


def test_an_unknown_value_keeps_its_hint_over_the_way(tmp_path: Path) -> None:
    pack = write(tmp_path)
    (rule,) = (one.rule for one in in_force(pack).require_order().own)
    from trainyard.policies.graph import Graph
    from trainyard.policies.values import UNKNOWN, NotKnownYetError

    (queue,) = stack([{"type": "aws:sqs/queue:Queue", "name": "q", "props": {"name": UNKNOWN}}], "dev")
    ((finding,),) = (result.findings for result in evaluate([rule], Graph([queue])))

    assert finding.verdict is Verdict.UNVERIFIED
    assert isinstance(finding.cause, NotKnownYetError)
    assert finding.place == "name"


@pytest.mark.parametrize("seconds", ["0", "-1", "601", "soon", "true"])
def test_a_wrong_limit_is_refused(tmp_path: Path, seconds: str) -> None:
    pack = write(tmp_path)
    (pack / "own_rules.yaml").write_text(f"folders: [../our-rules]\nseconds: {seconds}\n")

    with pytest.raises(BrokenPackError, match=r"seconds is .*; it may be a number up to 600"):
        in_force(pack).require_order()


def test_no_process_is_started_where_there_are_no_rules_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_rules.yaml").write_text("folders: []\n")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))

    assert in_force(tmp_path).require_order().own == ()


def test_a_file_is_judged_by_the_others_all_the_same(tmp_path: Path) -> None:
    pack = _pack(tmp_path, "__import__('os')._exit(0)")
    file = tmp_path / "state.json"
    resources = [{"urn": one.urn, "type": one.type, "inputs": one.props, "outputs": one.props} for one in QUEUES]
    file.write_text(json.dumps({"version": 3, "deployment": {"resources": resources}}))

    command = ["policies", "check", str(file), "--pack", str(pack), "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "trainyard.cli.main", *command], capture_output=True, text=True, check=False, timeout=180
    )

    found = json.loads(done.stdout)["findings"]
    mine = [one for one in found if one["rule"] == "team-queue-named"]
    assert done.returncode == 1, "other rules find violations"
    assert {one["verdict"] for one in mine} == {"cannot be verified"}
    assert sum(one["rule"] == "team-queue-known" for one in found) == 2
