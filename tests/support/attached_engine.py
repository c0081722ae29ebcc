"""An engine that attaches to plugins which run already, for many small programs one after the other.

To start the language host and the providers takes longer than all that they do for a small program. Here they are
started once. A provider that runs already has one configuration, the last that it was given: a program may have one
provider of each package, and `AttachedEngine.run` says so where it has more.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from trainyard.local.engine import Engine, Result

_HOST = Path(__file__).with_name("forking_language_host.py")
_PROVIDER = Path(__file__).with_name("shared_provider.py")


class AttachedEngine(Engine):
    """Starts no plugins, but uses those that `attached` names, as `plugins` gives it."""

    attached: Mapping[str, str] = {}

    def environment(self) -> dict[str, str]:
        return super().environment() | self.attached

    def run(self, operation: str, *arguments: str, **others: Any) -> Result:
        result = super().run(operation, *arguments, **others)
        made = [urn.split("::")[2] for step, urn in result.steps if step == "create"]
        of = Counter(one for one in made if one.startswith("pulumi:providers:"))
        assert set(of.values()) <= {1}, f"this program needs plugins of its own: it has {dict(of)}"
        return result


@contextmanager
def plugins(engine: Engine) -> Iterator[Mapping[str, str]]:
    """Plugins as `engine` would start them, until the end of the block; yields what `AttachedEngine` needs to know.

    What they say goes to `plugins.log` in the engine's home.
    """
    with ExitStack() as running:
        log = running.enter_context((engine.home / "plugins.log").open("ab"))

        def port_of(*command: str) -> str:
            process = running.enter_context(
                subprocess.Popen(
                    [sys.executable, *command], env=engine.environment(), stdout=subprocess.PIPE, stderr=log, text=True
                )
            )
            running.callback(process.terminate)
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port.isdigit(), f"{command[-1]} did not start: see {log.name}"
            return port

        providers = (f"{package}:{port_of(str(_PROVIDER), package)}" for package in ("aws", "kubernetes"))
        yield {
            "PULUMI_DEBUG_LANGUAGES": f"python:{port_of(str(_HOST))}",
            "PULUMI_DEBUG_PROVIDERS": ",".join(providers),
        }
