"""How the tests are dealt out to pytest-xdist's workers: the long files first, and one worker for what stands.

pytest-xdist begins with the files of the most tests. The longest have few, so they came last, and one worker waited for
the other. Here the order is the one below; whatever is not in it follows, as collected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
LONG = (
    "rehearsal/test_preview.py",
    "rehearsal/test_module_pages.py",
    "rehearsal/test_layers.py",
    "rehearsal/test_demo.py",
    "rehearsal/test_upgrades.py",
    "rehearsal/test_platform.py",
    "trainer/runs/test_launch.py",
    "rehearsal/test_supervision.py",
    "rehearsal/test_lifecycle.py",
    "standing",
    "local/kubernetes/provider/test_real_engine.py",
    "trainer/chaos/test_chaos.py",
    "trainer/runs/test_resume.py",
    "trainer/runs/test_asynchronous.py",
    "trainer/runs/test_watchdog.py",
    "trainer/runs/test_preemption.py",
    "trainer/runs/test_object_storage.py",
    "trainer/runs/test_parity.py",
)
"""Files, or folders that one worker takes whole, that take longest, longest first."""
TOGETHER = ("tests/standing/",)
"""Folders whose tests look at one environment: it is brought up by one worker, and not by each."""


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
