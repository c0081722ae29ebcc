"""What the trainer makes of one GPU: bf16, compiled, at 124M and 1B parameters.

MFU is the FLOPs a model needs (trainer/flops.py) over what the GPU can do; attention counts as causal, and the figure
with whole attention, as most papers have it, stands beside it. Compared with the bare PyTorch loop over the same model,
and at 1B with a compiled LlamaForCausalLM of transformers, attention by SDPA, with the same weights, batches and fused
AdamW; the losses must agree. Each runs alone, in turn, round after round.

    python -m benchmarks.gpu --json gpu.json
    python -m benchmarks.gpu --rehearse     # tiny models on the CPU: does it work?
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from trainer.config import load_config
from trainer.flops import flops_per_token, mfu, peak_flops

from benchmarks.figures import machine, ratios, spread, verdict
from benchmarks.peers.environment import peers_path, peers_python
from benchmarks.trainer_throughput import largest_difference, write_data
from benchmarks.turns import Losses, Program

VOCABULARY = 50257
LINE_STEPS = 10
WARM_UP_LINES, COUNTED_LINES = 3, 5
LARGEST_LOSS_DIFFERENCE = 0.02  # in bf16, where the order of every sum tells
MFU_TARGET = 0.45
NAMES = {
    "trainer": "trainer",
    "bare": "bare PyTorch loop",
    "llama": "LlamaForCausalLM",
}


@dataclass(frozen=True)
class Case:
    title: str
    recipe: str
    settings: tuple[str, ...]
    names: tuple[str, ...]
    mfu_wanted: float | None = None


CASES = {
    "124m": Case(
        "GPT-2 124M, 12 x 1024 tokens",
        "gpt2-124m",
        ("training.global_batch_size=12", "training.micro_batch_size=12"),
        ("trainer", "bare"),
    ),
    "1b": Case(
        "Llama 1B, 4 x 2048 tokens",
        "llama-1b",
        ("training.global_batch_size=4", "training.micro_batch_size=4"),
        ("trainer", "bare", "llama"),
        MFU_TARGET,
    ),
}
TINY = ("model.layers=2", "model.width=64", "model.heads=4", "model.context=32", "parallel.compile=false")
TINY_LLAMA = ("model.key_value_heads=2", "model.feed_forward_width=128")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="each runs everyone once (default %(default)s)")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--rehearse", action="store_true", help="tiny models on the CPU, which says nothing of speed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    if not given.rehearse and not torch.cuda.is_available():
        print(
            "No GPU here that PyTorch can use (torch.cuda.is_available() is false): nothing is measured. "
            "--rehearse goes through the same with tiny models on the CPU.",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out, what was started is ended too
    device = "cpu" if given.rehearse else torch.cuda.get_device_name()
    result: dict[str, Any] = {
        "benchmark": "gpu",
        "machine": machine() | {"device": device},
        "torch": version("torch"),
        "rounds": given.rounds,
        "cases": {},
    }
    for name in given.case or CASES:
        case = CASES[name]
        if given.rehearse:
            case = replace(case, settings=(*case.settings, *TINY, *(TINY_LLAMA if "llama" in case.names else ())))
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        with tempfile.TemporaryDirectory(prefix="trainer-gpu-") as work:
            result["cases"][name] = measure(case, Path(work), given.rounds, device)
        show(case, result["cases"][name])
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(case["losses_agree"] for case in result["cases"].values()) else 1


def measure(case: Case, work: Path, rounds: int, device: str) -> dict[str, Any]:
    write_data(work / "data", VOCABULARY)
    config = load_config(case.recipe, settings(case, work, work))
    tokens = config.training.global_batch_size * config.model.context
    seconds: dict[str, list[float]] = {name: [] for name in case.names}
    losses: dict[str, Losses] = {}
    for number in range(rounds):
        for name in case.names if number % 2 == 0 else reversed(case.names):
            program = start(case, name, work / f"{number}-{name}", work)
            try:
                program.run_to(WARM_UP_LINES)  # the first compiles
                seconds[name].append(program.turn(COUNTED_LINES, attempts=1))
                losses[name] = program.losses
            finally:
                program.end()
    result: dict[str, Any] = {
        "tokens_per_step": tokens,
        "tokens_per_second": {name: spread([tokens / s for s in taken]) for name, taken in seconds.items()},
        "trainer_to": {name: ratios(seconds[name], seconds["trainer"]) for name in case.names if name != "trainer"},
        "largest_loss_difference": (difference := largest_difference(losses)),
        "losses_agree": difference <= LARGEST_LOSS_DIFFERENCE,
    }
    peak = peak_flops(device, config.training.precision)
    if peak is not None:
        for label, causal in (("mfu", True), ("mfu_with_whole_attention", False)):
            needed = flops_per_token(config.model, VOCABULARY, causal)
            result[label] = {
                name: spread([mfu(tokens / s, needed, 1, peak) for s in taken]) for name, taken in seconds.items()
            }
        if case.mfu_wanted is not None:
            result["mfu"]["trainer"]["at_least"] = case.mfu_wanted
    return result


def settings(case: Case, work: Path, run: Path) -> list[str]:
    """What differs from the recipe, as --set takes it."""
    steps = LINE_STEPS * (WARM_UP_LINES + COUNTED_LINES + 2)
    return [
        f"run.directory={run}",
        f"data.uri={work / 'data'}",
        f"data.cache_directory={work / 'cache'}",
        f"checkpoint.uri={run / 'checkpoints'}",
        f"checkpoint.interval_steps={steps}",
        "evaluation.interval_steps=null",
        f"metrics.interval_steps={LINE_STEPS}",
        f"training.steps={steps}",
        "optimizer.warmup_steps=20",
        *case.settings,
    ]


def start(case: Case, name: str, run: Path, work: Path) -> Program:
    arguments = ["--config", case.recipe, *(f"--set={one}" for one in settings(case, work, run))]
    command = [sys.executable, "-m", "trainer", *arguments]
    if name != "trainer":
        command = [peers_python(), "-m", "benchmarks.peers.loops", name, *arguments]
    return Program(command, run / "metrics.jsonl", {"PYTHONPATH": peers_path()})


def show(case: Case, result: dict[str, Any]) -> None:
    table = Table(title=case.title, title_justify="left")
    table.add_column("loop")
    for column in ("tokens/s", "min … max", "trainer to it", "MFU", "MFU, whole attention"):
        table.add_column(column, justify="right")
    for name in case.names:
        rate, ratio = result["tokens_per_second"][name], result["trainer_to"].get(name)
        utilisation = [
            f"{result[label][name]['median']:.1%}" if label in result else ""
            for label in ("mfu", "mfu_with_whole_attention")
        ]
        table.add_row(
            NAMES[name],
            f"{rate['median']:,.0f}",
            f"{rate['min']:,.0f} … {rate['max']:,.0f}",
            f"{ratio['median']:.3f} ({ratio['min']:.3f} … {ratio['max']:.3f})" if ratio else "",
            *utilisation,
        )
    console = Console()
    console.print(table)
    if "mfu" in result:
        console.print(verdict("MFU of the trainer", result["mfu"]["trainer"]))
    agreed = "agree" if result["losses_agree"] else "[bold red]DISAGREE[/]"
    console.print(f"losses {agreed}: largest difference {result['largest_loss_difference']:.2g}")


if __name__ == "__main__":
    sys.exit(main())
