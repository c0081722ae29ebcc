"""A setting that could have no effect beside the others is refused, rather than passed over."""

from __future__ import annotations

import pytest
from trainer.config import load_config
from trainer.errors import UserError

PLACES = ("data.uri=none", "checkpoint.uri=none")


def test_patience_without_evaluations_is_refused_with_what_it_needs() -> None:
    with pytest.raises(UserError, match=r"patience 3 counts evaluations.*set evaluation\.interval_steps"):
        load_config("cpu-tiny", [*PLACES, "evaluation.patience=3", "evaluation.interval_steps=null"])
    config = load_config("cpu-tiny", [*PLACES, "evaluation.patience=3"])
    assert (config.evaluation.patience, config.evaluation.interval_steps) == (3, 50)
