"""For all tests: what they leave to chance (nothing), what they see of the developer's environment (little), and how
they are dealt out to pytest-xdist's workers.

Hypothesis draws the same examples at each run, so that a change is judged by what it changes; others, and as many as
one has time for, are drawn with `--hypothesis-profile random`.

pytest-xdist begins with the files of the most tests. The longest have few, so they came last, and one worker waited for
the other. Here the order is the one below; whatever is not in it follows, as collected. Folders whose tests share a
cluster go to one worker whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# Machines are shared: how long an example takes, or to draw one, says nothing of the code.
_PATIENT = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.register_profile("random", _PATIENT)
hypothesis_settings.register_profile("the same", _PATIENT, derandomize=True)
hypothesis_settings.load_profile("the same")

_DEVELOPERS = ("AWS_", "BOTO_", "ETCD_", "KUBE", "MLFLOW_", "MOTO_", "PULUMI_", "TRAINER_")
_LOOKS = ("CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "LINES", "NO_COLOR", "PY_COLORS", "TERM")
"""How the command line wraps and colours what it says. A test that asks for it sets it."""
_OF_A_HOOK = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_WORK_TREE")
"""Git sets these where it runs a hook: they name this repository, whatever folder a test works in."""


def _forget_the_developers_environment() -> None:
    for name in list(os.environ):
        if name.startswith(_DEVELOPERS) or name in _LOOKS or name in _OF_A_HOOK:
            del os.environ[name]
    for name in ("NO_PROXY", "no_proxy"):  # whatever proxy stands before the rest of the world
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))


if "TRAINYARD_VERIFY" not in os.environ:  # which looks at an account of the developer's
    _forget_the_developers_environment()

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
