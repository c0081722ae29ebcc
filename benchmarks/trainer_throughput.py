"""What the trainer's loop costs: tokens per second against a bare PyTorch loop and transformers' Trainer.

One process with two threads at nanoGPT's CPU shape (recipe cpu-bench). Every contestant trains the same model from the
same weights, on the same tokens in the same order, with the same fused AdamW, schedule and clipping; their losses must
agree. They run one after the other, round after round, each in a process of its own; ratios are taken within a round.
A run waits for a quiet machine, and is made again when another process disturbs it.

    python benchmarks/trainer_throughput.py --json throughput.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from trainer.config import Config, load_config
from trainer.prepare import prepare

CONTESTANTS = {
    "bare": "bare PyTorch loop",
    "trainer": "trainer",
    "transformers": "transformers.Trainer",
}
THREADS = 2
WINDOW_STEPS = 10  # one measurement; the first window is warm-up and not counted
LEAST_STEPS = 120  # the recipe warms up for 100
VOCAB_SIZE = 512  # small as nanoGPT's, so that the output layer does not hide what a loop costs
LARGEST_LOSS_DIFFERENCE = 2e-3
QUIET_SHARE = 0.1  # of the machine that others may use meanwhile: two busy threads feel every third one
QUIET_WAIT_SECONDS = 30
ATTEMPTS = 3
INTERVAL_SECONDS = 2
TARGET = 0.97

Losses = dict[int, float]  # step -> mean loss of its batch

disturbances: list[float] = []
"""The others' share of the machine in each interval that counted although it was too much."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="each runs every contestant once (default %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="optimiser steps of a run (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--contestant", choices=["bare", "transformers"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        contest = {"bare": run_bare, "transformers": run_transformers}[given.contestant]
        print(json.dumps(contest(settings(given.work, given.steps))))
        return 0
    if given.rounds < 1 or given.steps < LEAST_STEPS or given.steps % WINDOW_STEPS:
        parser.error(f"--rounds 1 or more, --steps a multiple of {WINDOW_STEPS} from {LEAST_STEPS} on")
    try:
        version("transformers"), version("accelerate")
    except PackageNotFoundError as missing:
        parser.error(f"{missing.name} is not installed: it is in the dependency group `bench` (pyproject.toml)")
    with tempfile.TemporaryDirectory(prefix="trainer-throughput-") as work:
        result = compete(Path(work), given.rounds, given.steps)
    show(result)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["losses_agree"] else 1


def changes(work: Path, steps: int) -> list[str]:
    """What differs from the recipe, as --set takes it."""
    values = {
        "run.directory": work / "run",
        "data.uri": work / "data",
        "data.cache_directory": work / "cache",
        "checkpoint.uri": work / "checkpoints",
        "training.steps": steps,
        "metrics.interval_steps": WINDOW_STEPS,
    }
    return [f"{name}={value}" for name, value in values.items()]


def settings(work: Path, steps: int) -> Config:
    return load_config("cpu-bench", changes(work, steps))


def compete(work: Path, rounds: int, steps: int) -> dict[str, Any]:
    """Runs all rounds. The order turns by one from round to round, so that no contestant always follows the same."""
    manifest = prepare(None, str(work / "data"), vocab_size=VOCAB_SIZE)
    config = settings(work, steps)
    tokens_per_step = config.training.global_batch_size * config.model.context
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    losses: dict[str, Losses] = {}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=rounds * len(CONTESTANTS))
        names = list(CONTESTANTS)
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                progress.update(task, description=f"round {number + 1}: {name}")
                windows, losses[name] = run_trainer(work, steps) if name == "trainer" else run_peer(name, work, steps)
                seconds[name].append(statistics.median(windows[1:]) / WINDOW_STEPS)
                progress.advance(task)
    return {
        "benchmark": "trainer_throughput",
        "shape": config.model.model_dump() | {"vocabulary": manifest.vocab_size, "batch": tokens_per_step},
        "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": THREADS},
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "trainer")},
        "steps": steps,
        "rounds": rounds,
        "disturbed_seconds": INTERVAL_SECONDS * len(disturbances),
        "contestants": {
            name: {
                "tokens_per_second": [round(tokens_per_step / s, 1) for s in seconds[name]],
                "median_tokens_per_second": round(tokens_per_step / statistics.median(seconds[name]), 1),
                "last_loss": losses[name][steps],
            }
            for name in CONTESTANTS
        },
        "trainer_to_bare": ratio(seconds["bare"], seconds["trainer"]) | {"target": TARGET},
        "trainer_to_transformers": ratio(seconds["transformers"], seconds["trainer"]),
        "transformers_to_bare": ratio(seconds["bare"], seconds["transformers"]),
        "largest_loss_difference": largest_difference(losses),
        "losses_agree": largest_difference(losses) <= LARGEST_LOSS_DIFFERENCE,
    }


def ratio(other: list[float], ours: list[float]) -> dict[str, float]:
    """Of speeds, from seconds per step, round by round: each pair ran within the same minute."""
    ratios = [theirs / own for theirs, own in zip(other, ours, strict=True)]
    return {"median": round(statistics.median(ratios), 4), "min": round(min(ratios), 4), "max": round(max(ratios), 4)}


def largest_difference(losses: dict[str, Losses]) -> float:
    bare = losses["bare"]
    assert all(curve.keys() == bare.keys() for curve in losses.values()), "contestants reported different steps"
    return round(max(abs(curve[step] - bare[step]) for curve in losses.values() for step in bare), 7)


def run_trainer(work: Path, steps: int) -> tuple[list[float], Losses]:
    """`python -m trainer` as a user would start it, from nothing; the times are those of its own journal's clock."""
    command = ["-m", "trainer", "--config", "cpu-bench", *(f"--set={change}" for change in changes(work, steps))]
    output(command, fresh=[work / "run", work / "checkpoints"])
    lines = [json.loads(line) for line in (work / "run/metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "event" not in line]
    windows = [line["seconds_per_step"] * WINDOW_STEPS for line in lines]
    by_wall_clock = [later["time"] - earlier["time"] for earlier, later in pairwise(lines)]
    measured, elapsed = sum(windows[1:]), sum(by_wall_clock)
    assert abs(measured - elapsed) < 0.01 * elapsed, f"the trainer reports {measured:.3f} s, the clock {elapsed:.3f} s"
    return windows, {line["step"]: line["loss"] for line in lines}


def run_peer(name: str, work: Path, steps: int) -> tuple[list[float], Losses]:
    answer = json.loads(output([__file__, "--contestant", name, "--work", str(work), "--steps", str(steps)]))
    return answer["windows"], {int(step): loss for step, loss in answer["losses"].items()}


def output(arguments: list[str], fresh: Sequence[Path] = ()) -> str:
    """What the program prints, from a run that other processes of the machine did not disturb, if there is one.

    The folders `fresh` are removed before each attempt.
    """
    for attempts_left in reversed(range(ATTEMPTS)):
        for folder in fresh:
            shutil.rmtree(folder, ignore_errors=True)
        wait_for_quiet()
        printed = undisturbed_output(arguments, give_up=attempts_left > 0)
        if printed is not None:
            return printed
    raise AssertionError("unreachable")


def undisturbed_output(arguments: list[str], *, give_up: bool) -> str | None:
    """None where the others' share of the processors got too large and the run was ended for it."""
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS), "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        program = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=printed, stderr=said, text=True
        )
        try:
            for share in shares_of_others(program):
                if share > QUIET_SHARE:
                    if give_up:
                        return None
                    disturbances.append(share)
        finally:
            program.kill()
            program.wait()
        said.seek(0)
        printed.seek(0)
        if program.returncode:
            sys.exit(f"{' '.join(arguments)} failed with {program.returncode}:\n{said.read()[-3000:]}")
        return printed.read()


def shares_of_others(program: subprocess.Popen[str]) -> Iterator[float]:
    """Every INTERVAL_SECONDS until the program ends: the part of all processors that was used, but not by it."""
    process = psutil.Process(program.pid)
    started, before, own = time.perf_counter(), busy_seconds(), 0.0
    while True:
        try:
            program.wait(timeout=INTERVAL_SECONDS)
        except subprocess.TimeoutExpired:
            now, busy, now_own = time.perf_counter(), busy_seconds(), sum(process.cpu_times()[:2])
            yield (busy - before - (now_own - own)) / (now - started) / (os.cpu_count() or 1)
            started, before, own = now, busy, now_own
        else:
            return


def wait_for_quiet() -> None:
    """Until the machine is idle for a second, but no longer than QUIET_WAIT_SECONDS."""
    deadline = time.perf_counter() + QUIET_WAIT_SECONDS
    while time.perf_counter() < deadline and psutil.cpu_percent(interval=1.0) > 100 * QUIET_SHARE:
        pass


def busy_seconds() -> float:
    """Of all processors together, since the machine started; stolen by the hypervisor counts."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def batches(config: Config) -> Iterator[tuple[Any, Any]]:
    """Every batch of the run as the trainer orders them: inputs and targets, int64 (batch, context)."""
    import torch
    from trainer.data import SampleOrder, Samples
    from trainer.shards import TokenShards

    samples = Samples(TokenShards.open(config.data.uri, "train", config.data.cache_directory), config.model.context)
    order = SampleOrder(len(samples), config.run.seed)
    size = config.training.global_batch_size
    for step in range(config.training.steps):
        inputs, targets = samples.read(order.at(np.arange(step * size, (step + 1) * size, dtype=np.int64)))
        yield torch.from_numpy(inputs), torch.from_numpy(targets)


def build(config: Config) -> tuple[Any, Any, Callable[[int], float]]:
    """Model, optimiser, and learning rate of a step counted from 1."""
    from trainer.model import Decoder
    from trainer.schedule import build_optimizer, learning_rate
    from trainer.shards import Manifest
    from trainer.storage import open_storage

    model = Decoder(config.model, Manifest.load(open_storage(config.data.uri)).vocab_size)
    model.initialize(config.run.seed)
    optimizer = build_optimizer(config.optimizer, model.named_parameters())
    return model, optimizer, lambda step: learning_rate(config.optimizer, step, config.training.steps)


def run_bare(config: Config) -> dict[str, Any]:
    """The least that trains: nothing but PyTorch calls, on batches that lie ready in memory."""
    import torch

    model, optimizer, rate = build(config)
    ready = list(batches(config))
    windows: list[float] = []
    losses: Losses = {}
    started = time.perf_counter()
    for step, (inputs, targets) in enumerate(ready, start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        loss_sum, _ = model(inputs, targets)
        loss = loss_sum / targets.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.gradient_clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % WINDOW_STEPS == 0:
            losses[step] = loss.item()
            now = time.perf_counter()
            windows.append(now - started)
            started = now
    return {"windows": windows, "losses": losses}


def run_transformers(config: Config) -> dict[str, Any]:
    """transformers' Trainer over the same model, told to do nothing that the bare loop does not do."""
    import torch
    import transformers

    decoder, optimizer, rate = build(config)
    peak = config.optimizer.learning_rate
    rows = [
        {"input_ids": inputs, "labels": targets}
        for batch in batches(config)
        for inputs, targets in zip(*batch, strict=True)
    ]

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = decoder

        def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            loss_sum, _ = self.decoder(input_ids, labels)
            return {"loss": loss_sum / labels.numel()}

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(train_dataset if train_dataset is not None else rows)

        def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
            self.step_loss = super().training_step(*arguments, **named)
            return self.step_loss

    class Clock(transformers.TrainerCallback):
        windows: list[float] = []  # noqa: RUF012
        losses: Losses = {}  # noqa: RUF012

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, _arguments: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step % WINDOW_STEPS == 0:
                self.losses[state.global_step] = trainer.step_loss.item()
                now = time.perf_counter()
                self.windows.append(now - self.started)
                self.started = now

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=config.training.steps,
            per_device_train_batch_size=config.training.global_batch_size,
            max_grad_norm=config.optimizer.gradient_clip_norm or 0.0,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate(done + 1) / peak)
        trainer = InOrder(Wrapped(), arguments, train_dataset=rows, optimizers=(optimizer, schedule), callbacks=[clock])
        for callback in (transformers.PrinterCallback, transformers.ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()
    return {"windows": clock.windows, "losses": clock.losses}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(result: dict[str, Any]) -> None:
    shape = result["shape"]
    table = Table(
        title=f"{shape['layers']} layers, {shape['heads']} heads, {shape['width']} wide, block {shape['context']}, "
        f"{shape['batch']} tokens a step, fp32, {THREADS} threads; {result['rounds']} x {result['steps']} steps",
        title_justify="left",
    )
    table.add_column("loop")
    for column in ("tokens/s", "of bare", "min … max", "last loss"):
        table.add_column(column, justify="right")
    to_bare = {"trainer": result["trainer_to_bare"], "transformers": result["transformers_to_bare"]}
    for name, label in CONTESTANTS.items():
        measured = result["contestants"][name]
        of_bare = to_bare.get(name)
        table.add_row(
            label,
            f"{measured['median_tokens_per_second']:,.0f}",
            f"{of_bare['median']:.3f}" if of_bare else "1",
            f"{of_bare['min']:.3f} … {of_bare['max']:.3f}" if of_bare else "",
            f"{measured['last_loss']:.5f}",
        )
    console = Console()
    console.print(table)
    console.print("medians over rounds; bare and transformers.Trainer have their batches ready in memory")
    trainer, peer = result["trainer_to_bare"], result["trainer_to_transformers"]
    if result["disturbed_seconds"]:
        verdict = f"[bold red]not measured[/]: others used the processors for {result['disturbed_seconds']} s of it"
    else:
        verdict = "met" if trainer["median"] >= TARGET else "[bold red]missed[/]"
    console.print(f"trainer to bare: {trainer['median']:.3f} (target {TARGET}: {verdict}); ", end="")
    console.print(f"trainer to transformers.Trainer: {peer['median']:.3f}")
    agreed = "agree" if result["losses_agree"] else "[bold red]DISAGREE: the loops do not compute the same[/]"
    console.print(f"losses {agreed}: largest difference {result['largest_loss_difference']:.2g}")


if __name__ == "__main__":
    sys.exit(main())
