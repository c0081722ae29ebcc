"""The runs that are killed here are those of `tests/trainer/runs`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_FIXTURES = "trainer_runs_fixtures"

if _FIXTURES not in sys.modules:
    spec = importlib.util.spec_from_file_location(_FIXTURES, Path(__file__).parents[1] / "runs" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_FIXTURES] = module
    spec.loader.exec_module(module)

runs = sys.modules[_FIXTURES]
tokens, write_tokens, server = runs.tokens, runs.write_tokens, runs.server
make_run, new_run, tensors_of = runs.make_run, runs.new_run, runs.tensors_of
