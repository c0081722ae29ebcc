"""Debian's chromium, driven by Playwright, which needs no browser of its own download then."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from waiting import WAIT_SECONDS

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
"""Those that tools/browser.sh looks for."""
WAIT_MILLISECONDS = WAIT_SECONDS * 1000
expect.set_options(timeout=WAIT_MILLISECONDS)
_SWITCHES = (
    "--no-sandbox",  # it runs as root in a container, and sees this repository's own pages only
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser. Where there is none the test is skipped, or fails with CI=true."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = "no browser: install the package chromium (apt-get install chromium fonts-liberation)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    # Snapshots of the profile, crash dumps and caches go with the folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path,
            args=list(_SWITCHES),
            env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home},
            timeout=WAIT_MILLISECONDS,
        )
        try:
            yield started
        finally:
            started.close()
