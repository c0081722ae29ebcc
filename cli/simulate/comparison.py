"""One trace under all policies, and what the machines cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainyard.cli.simulate.policies import Adaptive, Fixed, clairvoyant
from trainyard.cli.simulate.replay import Account, Job, replay
from trainyard.cli.simulate.traces import MICROSECONDS, Trace

HOUR = 3600 * MICROSECONDS


@dataclass(frozen=True)
class Prices:
    """Of the whole gang, US dollars by the hour."""

    on_demand: float
    spot: float | None

    def to_json(self, account: Account) -> dict[str, float | None]:
        """`spot_usd`: of all the time machines were there. `usd_per_useful_hour`: of it, for an hour of kept work.
        `on_demand_usd`: of the same work without any loss. `break_even_spot_usd_per_hour`: where spot stops to pay."""
        useful = account.useful / HOUR
        paid = None if self.spot is None else self.spot * account.available / HOUR
        return {
            "spot_usd": _rounded(paid),
            "usd_per_useful_hour": None if paid is None or not useful else _rounded(paid / useful),
            "on_demand_usd": _rounded(self.on_demand * useful),
            "break_even_spot_usd_per_hour": _rounded(self.on_demand * account.goodput),
        }


@dataclass(frozen=True)
class Comparison:
    trace: Trace
    adaptive: Account
    adaptive_steps: int
    """The interval it came to in the end."""
    fixed: dict[int, Account]
    """By steps."""
    clairvoyant: Account

    @property
    def best_steps(self) -> int:
        """The fixed interval that, in hindsight, got most done."""
        return max(self.fixed, key=lambda steps: self.fixed[steps].useful)

    @property
    def short_by(self) -> float:
        """Of goodput, what the adaptive interval lacks to the best fixed one; below 0 where it does better."""
        return self.fixed[self.best_steps].goodput - self.adaptive.goodput

    def to_json(self, prices: Prices) -> dict[str, Any]:
        def told(account: Account, **more: int) -> dict[str, Any]:
            return more | account_to_json(account) | prices.to_json(account)

        return {
            "trace": self.trace.name,
            "description": self.trace.description,
            "hours": round(self.trace.seconds / 3600, 3),
            "available_share": round(self.clairvoyant.available / MICROSECONDS / self.trace.seconds, 5),
            "losses": self.clairvoyant.losses,
            "adaptive": told(self.adaptive, last_steps=self.adaptive_steps),
            "fixed": [told(account, steps=steps) for steps, account in self.fixed.items()],
            "best_fixed_steps": self.best_steps,
            "short_by": round(self.short_by, 6),
            "clairvoyant": told(self.clairvoyant),
        }


def compare(trace: Trace, job: Job, prior_mean_seconds: float, intervals: list[int]) -> Comparison:
    """`intervals`: the fixed ones, in steps."""
    adaptive = Adaptive(job, prior_mean_seconds)
    account = replay(trace, job, adaptive)
    return Comparison(
        trace,
        account,
        adaptive.steps,
        {steps: replay(trace, job, Fixed(steps)) for steps in intervals},
        clairvoyant(trace, job),
    )


def account_to_json(account: Account) -> dict[str, Any]:
    hours = {
        f"{name}_hours": round(getattr(account, name) / HOUR, 4)
        for name in ("available", "useful", "lost", "stalled", "restoring", "leaving")
    }
    return {
        "goodput": round(account.goodput, 6),
        **hours,
        "saves": account.saves,
        "losses_without_a_save": account.unwarned,
    }


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 2)
