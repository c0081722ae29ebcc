"""The learning rate is a function of the step: warm-up, then one of four ways down."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import ValidationError
from trainer.config_sections import OptimizerConfig
from trainer.schedule import learning_rate


def rates(steps: int, **settings) -> list[float]:
    optimizer = OptimizerConfig(learning_rate=1.0, minimum_learning_rate=0.1, **settings)
    return [learning_rate(optimizer, step, steps) for step in range(1, steps + 1)]


def test_learning_rate_rises_straight_and_falls_by_half_a_cosine_to_the_minimum() -> None:
    settings = OptimizerConfig(learning_rate=1.0, minimum_learning_rate=0.1, warmup_steps=4)
    rates = [learning_rate(settings, step, 20) for step in range(1, 21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[11] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in pairwise(rates[3:]))
    assert learning_rate(OptimizerConfig(learning_rate=1.0), 1, 1) == pytest.approx(0.0)


def test_linear_falls_by_equal_steps_to_the_minimum() -> None:
    told = rates(20, schedule="linear", warmup_steps=4)
    assert told[:4] == [0.25, 0.5, 0.75, 1.0]
    assert [before - after for before, after in pairwise(told[3:])] == pytest.approx([0.9 / 16] * 16)
    assert told[-1] == pytest.approx(0.1)


def test_constant_stays() -> None:
    assert rates(20, schedule="constant", warmup_steps=4) == [0.25, 0.5, 0.75, *[1.0] * 17]


@pytest.mark.parametrize(("decay", "falling"), [(5, 5), (None, 2), (100, 16)])
def test_wsd_stays_and_then_falls_straight(decay: int | None, falling: int) -> None:
    told = rates(20, schedule="wsd", warmup_steps=4, decay_steps=decay)
    assert told[3 : 20 - falling] == [1.0] * (17 - falling)
    assert [before - after for before, after in pairwise(told[19 - falling :])] == pytest.approx(
        [0.9 / falling] * falling
    )
    assert told[-1] == pytest.approx(0.1)


def test_decay_steps_belong_to_wsd() -> None:
    with pytest.raises(ValidationError, match="decay_steps is a setting of schedule wsd, not of cosine"):
        OptimizerConfig(learning_rate=1.0, decay_steps=3)
