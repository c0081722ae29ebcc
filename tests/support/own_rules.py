"""A team's folder of rules, as small as one can be."""

from __future__ import annotations

from pathlib import Path

RULE = """
from trainyard.policies.rule import Severity, resource_rule, violation

@resource_rule(
    "{id}",
    title="A queue has a name of the team",
    severity=Severity.LOW,
    applies={{"aws:sqs/queue:Queue"}},
    controls={{"Example Corp": ("N-1",)}},
    why="Bills are sorted by name.",
    remedy="aws.sqs.Queue('team-jobs')",
)
def named(queue):
    if not (queue["name"].text() or "").startswith("team-"):
        yield violation("it does not begin with team-", queue["name"])
"""
CASES = """
good: [{name: the team's, resources: [{type: "aws:sqs/queue:Queue", name: q, props: {name: team-jobs}}]}]
bad: [{name: a stranger's, finds: [q.name], resources: [{type: "aws:sqs/queue:Queue", name: q, props: {name: jobs}}]}]
"""
SOUND = RULE.format(id="team-queue-named")


def write(folder: Path, source: str = SOUND, cases: str | None = CASES) -> Path:
    """A pack's folder, `pack`, whose own_rules.yaml names the folder `our-rules` with one module of rules."""
    rules = folder / "our-rules"
    (rules / "cases").mkdir(parents=True)
    (rules / "queues.py").write_text(source)
    if cases is not None:
        (rules / "cases" / "team-queue-named.yaml").write_text(cases)
    pack = folder / "pack"
    pack.mkdir()
    (pack / "own_rules.yaml").write_text("folders: [../our-rules]\n")
    return pack
