"""`trainyard simulate`: how much of the time on interruptible machines becomes training, and at which interval."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainyard.cli import output

if TYPE_CHECKING:
    from trainyard.cli.simulate.comparison import Prices

DAY = 86_400.0


def simulate(
    traces: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TRACE]...", help="JSON files, or names of shipped ones; all of these if none is named."
        ),
    ] = None,
    step_seconds: Annotated[float, typer.Option(help="Of one optimiser step.")] = 5.0,
    stall_seconds: Annotated[float, typer.Option(help="How long a save stops the training.")] = 2.0,
    upload_seconds: Annotated[
        float, typer.Option(help="From a save's beginning until its checkpoint is durable; training goes on.")
    ] = 60.0,
    restore_seconds: Annotated[
        float,
        typer.Option(help="From the machines being there until the first step: processes, checkpoint, compiling."),
    ] = 180.0,
    notice_seconds: Annotated[
        float, typer.Option(help="Warning before machines are taken away: 120 on EC2; 0 for none.")
    ] = 0.0,
    intervals: Annotated[
        list[int] | None,
        typer.Option("--interval", metavar="STEPS", min=1, help="A fixed interval to compare; again for more."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=100_000, help="In the gang, which is lost whole.")] = 8,
    mean_seconds_between_failures: Annotated[
        float | None,
        typer.Option(min=1.0, help="What the adaptive interval believes at first; 40 days by nodes if not said."),
    ] = None,
    instance_type: Annotated[str, typer.Option(help="Whose on-demand price counts.")] = "p5.48xlarge",
    region: Annotated[str, typer.Option(help="Where.")] = "us-east-1",
    on_demand_price: Annotated[
        float | None, typer.Option(min=0.0, help="US dollars by the hour for an instance; the known one if not said.")
    ] = None,
    spot_price: Annotated[
        float | None, typer.Option(min=0.0, help="The same for spot, of which no price is known here.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw a picture.")] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")
    ] = False,
) -> None:
    """Replay when machines were there, with checkpoints at the adaptive interval, at fixed ones, and by a clairvoyant.

    The gang is lost whole: spot instances of one type and zone are interrupted within 3 minutes of each other in more
    than 92 % of cases (Spot-and-Scoot). A trace is {"metadata": {"gap_seconds": 60}, "data": [1, 1, 0, …]}.
    """
    from trainer.errors import UserError
    from trainer.interval import prior_mean_seconds

    from trainyard.cli.simulate import show
    from trainyard.cli.simulate.comparison import compare
    from trainyard.cli.simulate.policies import sweep
    from trainyard.cli.simulate.replay import Job
    from trainyard.cli.simulate.traces import find, shipped

    for option, value in (
        ("mean-seconds-between-failures", mean_seconds_between_failures),
        ("on-demand-price", on_demand_price),
        ("spot-price", spot_price),
    ):
        if value is not None and not math.isfinite(value):
            raise UserError(f"--{option} {value}: expected a number")
    job = Job.of_seconds(step_seconds, stall_seconds, upload_seconds, restore_seconds, notice_seconds)
    prior = mean_seconds_between_failures or prior_mean_seconds(nodes)
    replayed = [find(name) for name in traces] if traces else shipped()
    prices = _prices(nodes, instance_type, region, on_demand_price, spot_price)
    comparisons = [
        compare(trace, job, prior, sorted(set(intervals or sweep(job, min(3 * DAY, trace.seconds)))))
        for trace in replayed
    ]
    if svg is not None:  # before anything is said: a picture that can't be written is told alone
        from trainyard.cli.simulate.picture import draw

        draw(comparisons, job, svg)
    if json_output:
        output.tell(
            {
                "job": {
                    "step_seconds": step_seconds,
                    "stall_seconds": stall_seconds,
                    "upload_seconds": upload_seconds,
                    "restore_seconds": restore_seconds,
                    "notice_seconds": notice_seconds,
                    "nodes": nodes,
                    "believed_seconds_between_failures": prior,
                },
                "gang_usd_per_hour": {"on_demand": prices.on_demand, "spot": prices.spot},
                "traces": [comparison.to_json(prices) for comparison in comparisons],
            }
        )
        return
    show.tables(comparisons, job, prices)


def _prices(
    nodes: int, instance_type: str, region: str, on_demand_price: float | None, spot_price: float | None
) -> Prices:
    """Raises UserError for an instance type of which no price is known."""
    from trainer.errors import UserError

    from trainyard.cli.simulate.comparison import Prices
    from trainyard.stacks.prices import ON_DEMAND_USD, REFERENCE_REGION, hourly_usd

    if on_demand_price is None:
        on_demand_price = hourly_usd(instance_type, region)
    if on_demand_price is None:
        raise UserError(
            f"--instance-type {instance_type}: no price is known; give one with --on-demand-price, or name one of "
            f"{', '.join(ON_DEMAND_USD[REFERENCE_REGION])}"
        )
    return Prices(nodes * on_demand_price, None if spot_price is None else nodes * spot_price)
