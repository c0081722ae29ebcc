"""For all tests: no deadline for one example, and how they are dealt out to pytest-xdist's workers.

pytest-xdist begins with the files of the most tests. The longest have few, so they came last, and one worker waited for
the other. Here the order is the one below; whatever is not in it follows, as collected. Folders whose tests share a
cluster go to one worker whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

# Machines are shared: how long one example takes says nothing of the code.
hypothesis_settings.register_profile("shared machine", deadline=None)
hypothesis_settings.load_profile("shared machine")

_HERE = Path(__file__).parent
LONG = (
    "rehearsal/test_preview.py",
    "rehearsal/every_rule/test_every_rule.py",
    "rehearsal/test_module_pages.py",
    "local/kubernetes",
    "trainer/runs/test_launch.py",
    "rehearsal/test_demo.py",
    "rehearsal/test_layers.py",
    "rehearsal/test_upgrades.py",
    "rehearsal/test_platform.py",
    "standing",
    "rehearsal/test_residency_breaks.py",
    "rehearsal/test_review.py",
    "rehearsal/test_lifecycle.py",
    "rehearsal/test_supervision.py",
    "trainer/runs/test_resume.py",
    "trainer/runs/test_asynchronous.py",
    "trainer/runs/test_watchdog.py",
    "trainer/runs/test_parity.py",
    "trainer/runs/test_preemption.py",
    "trainer/runs/test_object_storage.py",
    "trainer/chaos/test_chaos.py",
    "cli/test_train.py",
    "trainer/test_plan.py",
)
"""Files, or folders that one worker takes whole, that take longest, longest first."""
TOGETHER = ("tests/standing/", "tests/local/kubernetes/")
"""Folders whose tests share what takes long to start: one worker starts it, and not each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first; otherwise the order stays."""
    long = [_HERE / name for name in LONG]
    assert all(path.exists() for path in long), "a long file has another name now"

    def place(item: pytest.Item) -> int:
        return next((at for at, path in enumerate(long) if item.path.is_relative_to(path)), len(long))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadfile`: its files in the order of collection, and folders of `TOGETHER` as one file."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return ByFileOrFolder(config, log)
