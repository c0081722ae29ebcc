"""Rules that look at the calendar see one day in every test."""

from __future__ import annotations

from datetime import date

import pytest

from trainyard.policies.rules import cluster_versions


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_versions, "today", lambda: date(2026, 11, 21))
