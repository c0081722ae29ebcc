"""What the trainer's loop costs: its speed beside a bare PyTorch loop, Fabric, accelerate and transformers' Trainer.

One process with two threads each. Everyone trains the same model from the same weights, on the same tokens in the same
order, with the same fused AdamW, learning rates and clipping; their losses must agree. The trainer runs as a user
starts it. All take turns, and ratios are taken within a round of turns.

    python -m benchmarks.trainer_throughput --json throughput.json
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from trainer.config import load_config
from trainer.prepare import prepare
from trainer.shards import MANIFEST

from benchmarks.figures import machine, ratios, spread, verdict
from benchmarks.peers.environment import peers_path, peers_python
from benchmarks.turns import Losses, Program

THREADS = 2
LEAST_STEPS = 2500  # more than the recipes warm up for
MOST_ATTEMPTS = 5
LARGEST_LOSS_DIFFERENCE = 2e-3
BARE_TARGET, BEST_PEER_TARGET, TRAINER_TARGET = 0.97, 0.98, 1.0
NAMES = {
    "bare": "bare PyTorch loop",
    "trainer": "trainer",
    "fabric": "Lightning Fabric",
    "accelerate": "accelerate",
    "transformers": "transformers Trainer",
}
PEERS = ("fabric", "accelerate", "transformers")


@dataclass(frozen=True)
class Case:
    """A model and how it is measured."""

    title: str
    recipe: str
    settings: tuple[str, ...]
    vocabulary: int | None
    """Instead of that of the tokenizer, whose 512 tokens hide nothing of a small model's loop."""
    line_steps: int
    """Steps between two lines of the journal."""
    turn_lines: int
    """Lines that count in one turn."""


CASES = {
    "small": Case("nanoGPT's CPU shape, eager", "cpu-bench", (), None, 10, 4),
    "small-compiled": Case(
        "nanoGPT's CPU shape, blocks compiled", "cpu-bench", ("parallel.compile=true",), None, 10, 4
    ),
    "124m": Case(
        "GPT-2 124M, 2 x 256 tokens, eager",
        "gpt2-124m",
        (
            "model.context=256",
            "training.global_batch_size=2",
            "training.micro_batch_size=2",
            "training.precision=fp32",
            "optimizer.warmup_steps=100",
            "parallel.compile=false",
            "evaluation.interval_steps=null",
        ),
        50257,
        1,
        3,
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="each gives everyone a turn (default %(default)s)")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--attempts", type=int, default=3, help="at a turn others disturb (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    if given.rounds < 1 or not 1 <= given.attempts <= MOST_ATTEMPTS:
        parser.error(f"--rounds 1 or more, --attempts 1 to {MOST_ATTEMPTS}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out, the others are ended too
    result: dict[str, Any] = {
        "benchmark": "trainer_throughput",
        "machine": machine() | {"threads": THREADS},
        "torch": version("torch"),
        "rounds": given.rounds,
        "cases": {},
    }
    for name in given.case or CASES:
        with tempfile.TemporaryDirectory(prefix="trainer-throughput-") as work:
            result["cases"][name] = compete(CASES[name], Path(work), given.rounds, given.attempts)
        show(CASES[name], result["cases"][name])
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(case["losses_agree"] for case in result["cases"].values()) else 1


def compete(case: Case, work: Path, rounds: int, attempts: int) -> dict[str, Any]:
    """All rounds. The order turns by one from round to round, so that nobody always follows the same."""
    write_data(work / "data", case.vocabulary)
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    names = list(NAMES)
    with ExitStack() as stack, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("start", total=rounds * len(NAMES))
        programs: dict[str, Program] = {}
        for name in names:
            programs[name] = start(case, name, work, rounds)
            stack.callback(programs[name].end)
            programs[name].run_to(2)  # one by one: several at a time are slower, and compile the same thing each
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                progress.update(task, description=f"round {number + 1}: {name}")
                seconds[name].append(programs[name].turn(case.turn_lines, attempts))
                progress.advance(task)
        losses = {name: program.losses for name, program in programs.items()}
        disturbed = sum(program.disturbed_seconds for program in programs.values())
    config = load_config(case.recipe, settings(case, work, work, rounds))
    tokens = config.training.global_batch_size * config.model.context
    difference = largest_difference(losses)
    best = min(PEERS, key=lambda peer: spread(seconds[peer])["median"])
    return {
        "tokens_per_step": tokens,
        "tokens_per_second": {name: spread([tokens / s for s in taken]) for name, taken in seconds.items()},
        "of_bare": {name: ratios(seconds["bare"], taken) for name, taken in seconds.items()},
        "best_peer": best,
        "trainer_to_bare": ratios(seconds["bare"], seconds["trainer"], BARE_TARGET),
        "trainer_to_best_peer": ratios(seconds[best], seconds["trainer"], BEST_PEER_TARGET),
        "trainer_to_transformers": ratios(seconds["transformers"], seconds["trainer"], TRAINER_TARGET),
        "largest_loss_difference": difference,
        "losses_agree": difference <= LARGEST_LOSS_DIFFERENCE,
        "disturbed_seconds": round(disturbed, 1),
    }


def write_data(folder: Path, vocabulary: int | None) -> None:
    """Text in 512 different tokens, said to be out of a larger vocabulary where one is given."""
    prepare(None, str(folder), vocab_size=512)
    if vocabulary is not None:
        # Tokens of a larger vocabulary cost the model the same, whichever of them occur.
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(manifest | {"vocab_size": vocabulary}))


def settings(case: Case, work: Path, run: Path, rounds: int) -> list[str]:
    """What differs from the recipe, as --set takes it."""
    # More steps than anyone gets to, turns that are taken again included: who ends leaves the others without a pair.
    steps = max(LEAST_STEPS, case.line_steps * (10 + (MOST_ATTEMPTS + 1) * rounds * (1 + case.turn_lines)))
    return [
        f"run.directory={run}",
        f"data.uri={work / 'data'}",
        f"data.cache_directory={work / 'cache'}",
        f"checkpoint.uri={run / 'checkpoints'}",
        f"checkpoint.interval_steps={steps}",
        f"metrics.interval_steps={case.line_steps}",
        f"training.steps={steps}",
        *case.settings,
    ]


def start(case: Case, name: str, work: Path, rounds: int) -> Program:
    run = work / name
    arguments = ["--config", case.recipe, *(f"--set={one}" for one in settings(case, work, run, rounds))]
    if name == "trainer":
        command = [sys.executable, "-m", "trainer", *arguments]
    else:
        command = [peers_python(), "-m", "benchmarks.peers.loops", name, *arguments]
    environment = {"OMP_NUM_THREADS": str(THREADS), "PYTHONPATH": peers_path(), "CUDA_VISIBLE_DEVICES": ""}
    return Program(command, run / "metrics.jsonl", environment)


def largest_difference(losses: dict[str, Losses]) -> float:
    """To the bare loop, over all steps that everyone has done."""
    common = set.intersection(*(set(curve) for curve in losses.values()))
    return max(abs(curve[step] - losses["bare"][step]) for curve in losses.values() for step in common)


def show(case: Case, result: dict[str, Any]) -> None:
    table = Table(title=f"{case.title}; {result['tokens_per_step']} tokens a step", title_justify="left")
    table.add_column("loop")
    for column in ("tokens/s", "of bare", "min … max"):
        table.add_column(column, justify="right")
    for name, label in NAMES.items():
        of_bare = result["of_bare"][name]
        table.add_row(
            label,
            f"{result['tokens_per_second'][name]['median']:,.0f}",
            f"{of_bare['median']:.3f}",
            f"{of_bare['min']:.3f} … {of_bare['max']:.3f}",
        )
    console = Console()
    console.print(table)
    console.print(verdict("trainer to bare", result["trainer_to_bare"]))
    console.print(verdict(f"trainer to the best peer ({result['best_peer']})", result["trainer_to_best_peer"]))
    console.print(verdict("trainer to transformers Trainer", result["trainer_to_transformers"]))
    agreed = "agree" if result["losses_agree"] else "[bold red]DISAGREE: the loops do not compute the same[/]"
    console.print(f"losses {agreed}: largest difference {result['largest_loss_difference']:.2g}")
    if result["disturbed_seconds"]:
        console.print(
            f"[bold red]others used the processors[/] for {result['disturbed_seconds']} s of what was counted"
        )


if __name__ == "__main__":
    sys.exit(main())
