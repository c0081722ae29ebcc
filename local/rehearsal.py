"""One environment, rehearsed: the emulated account and the engine that brings the platform up in it.

The account lives in the memory of its process. So the engine's state belongs to one run of the services: where they
have ended, however, the state of that account is set aside and the next `up` begins with an empty one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from trainyard.local import prerequisites, supervisor, toolchain
from trainyard.local.engine import ACCOUNT_ID, Engine, EngineError, Event, Result, emulated_aws_environment
from trainyard.local.paths import RUNS, require_checkout
from trainyard.local.process import started_at

OnEvent = Callable[[Event], None]
NEEDED_MIB = 256
"""Disk space that a rehearsal takes at most; measured were 132 (2026-11, `prod-us` and `local`)."""


class BusyError(Exception):
    """Another command is at work in the same rehearsal."""


class NoEnvironmentError(Exception):
    """The environment has no file."""


class NotRunningError(Exception):
    """There is no emulated account to work in."""


@dataclass(frozen=True)
class Status:
    """What runs and what stands in one rehearsal."""

    environment: str
    directory: str
    running: bool
    endpoint: str | None
    processes: tuple[dict[str, Any], ...]
    resources: int


class Rehearsal:
    """The rehearsal of `environment` in `directory`. As a context manager it owns its services and ends them.

    `project` is the folder with Pulumi.yaml; `config` the stack's file, by default the environment's own. A program
    without an EKS cluster needs no `kubernetes`, and starts sooner without it.
    """

    def __init__(
        self,
        environment: str = "local",
        directory: Path | None = None,
        project: Path | None = None,
        config: Path | None = None,
        policy_pack: Path | None = None,
        kubernetes: bool = True,
        layers: Sequence[str] = (),
        policy_configuration: Path | None = None,
        throw_away: bool = False,
        judged: bool = True,
        noting: bool = False,
        account: str | None = None,
    ) -> None:
        """`judged`: with the policy pack in the engine. `throw_away`: nobody will go on from a run that was killed, so
        its state is not saved at each step, which is most of what the engine itself does. `noting`: see `Engine`.
        `account`: id of the emulated account, by default the one that the settings name: what they say of roles and
        users is of that account, and the provider works in no other."""
        root = project or require_checkout()
        self.environment = environment
        self.directory = (directory or RUNS / environment).resolve()
        self.project = root
        self.config = config or root / "stacks" / "environments" / f"Pulumi.{environment}.yaml"
        if not self.config.is_file():
            known = sorted(file.stem.removeprefix("Pulumi.") for file in self.config.parent.glob("Pulumi.*.yaml"))
            raise NoEnvironmentError(
                f"no environment {environment!r}: {self.config} does not exist"
                + (f"; there are {', '.join(known)}" if known else "")
            )
        pack = policy_pack or root / "policies"
        self.policy_pack = pack if judged and pack.is_dir() else None
        self.started_over = False
        """Whether the last `up` found that the one before was killed in its midst, and began with a new account."""
        self.kubernetes = kubernetes
        self.layers = tuple(layers)
        self.policy_configuration = policy_configuration
        self.throw_away = throw_away
        self.account = account
        self.noting = noting
        self._owner: int | None = None

    def __enter__(self) -> Rehearsal:
        self.start(owned=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, owned: bool = False, progress: toolchain.Progress | None = None) -> supervisor.Running:
        """Start the services, or find them running; a new account begins with an empty state.

        Builds the control plane's executables where there are none yet.
        """
        if self.kubernetes:
            for tool in ("etcd", "kubernetes"):
                toolchain.find_all(tool, progress)
            self._ask_for_room()
        services, self._owner = supervisor.start(
            self.directory,
            owned,
            self.kubernetes,
            self._forget,
            self.account or account_in(self.config),
            caller_in(self.config),
        )
        return services

    def _ask_for_room(self) -> None:
        """What etcd and the engine say of a full disk is long, and names no remedy."""
        self.directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.directory).free // 2**20
        if free < NEEDED_MIB and supervisor.running(self.directory) is None:
            raise supervisor.ServiceError(
                f"{self.directory} lies on a disk with {free} MiB free; a rehearsal takes up to {NEEDED_MIB}. "
                "Make room; for a preview TMPDIR names another place"
            )

    def _forget(self) -> None:
        """Set aside what was told of an account that has ended."""
        shutil.rmtree(self.directory / "engine" / "state", ignore_errors=True)
        for left in ("export.json", "outputs.json", "engine/up.log", "engine/events.jsonl"):
            (self.directory / left).unlink(missing_ok=True)

    def stop(self) -> bool:
        """End the services; False where none ran. The logs stay."""
        stopped = supervisor.stop(self.directory)
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None
        return stopped

    @property
    def endpoint(self) -> str:
        """Address of the emulated account; raises `NotRunningError`."""
        found = supervisor.running(self.directory)
        if found is None:
            raise NotRunningError(
                f"no rehearsal of {self.environment} is up in {self.directory}: start one with `trainyard local up`"
            )
        return found.endpoint

    def engine(self, progress: toolchain.Progress | None = None, layer: str = "") -> Engine:
        """The engine for this rehearsal's stack, of a split environment for that of `layer`; builds the `pulumi`
        command where there is none yet."""
        pulumi = toolchain.find("pulumi", progress)
        stack, config = self.environment, self.config
        if layer or self.layers:
            layer = layer or self.layers[-1]
            stack, config = f"{self.environment}-{layer}", self._config_of(layer)
        engine = Engine(
            pulumi,
            self.project,
            stack,
            self.directory / "engine",
            self.endpoint,
            config,
            checkpoints=not self.throw_away,
            noting=self.noting,
        )
        engine.ensure_stack()
        return engine

    def engines(self, progress: toolchain.Progress | None = None) -> list[Engine]:
        """An engine for each stack of the environment, in the order in which they are brought up."""
        return [self.engine(progress, layer) for layer in self.layers or ("",)]

    def up(
        self, on_event: OnEvent | None = None, progress: toolchain.Progress | None = None, look_first: bool = True
    ) -> Result:
        """Bring the platform up, with the policy pack in the engine; leaves `outputs.json` and `export.json`."""
        with self.exclusive():
            self.started_over = self._start_over_if_broken_off()
            return self._run("up", self.engines(progress), on_event, True, *_look(look_first))

    def preview(self, on_event: OnEvent | None = None, look_first: bool = True) -> Result:
        """What an `up` would change now. `look_first`: with what stands in the account, and not only in the state."""
        return self._run("preview", self.engines(), on_event, True, *_look(look_first))

    def destroy(self, on_event: OnEvent | None = None) -> Result:
        """Remove every resource of the environment from the account."""
        with self.exclusive():
            return self._run("destroy", self.engines()[::-1], on_event, policies=False)

    def _run(
        self, operation: str, engines: list[Engine], on_event: OnEvent | None, policies: bool, *arguments: str
    ) -> Result:
        """One operation on every stack, in the order given; what they did counts together."""
        if policies and self.policy_pack is not None and self.policy_configuration is not None:
            arguments = (*arguments, "--policy-pack-config", str(self.policy_configuration))
        done: list[Result] = []
        try:
            for engine in engines:
                pack = self.policy_pack if policies else None
                done.append(engine.run(operation, *arguments, policy_pack=pack, on_event=on_event))
        except BaseException as stopped:
            goes_on = self._owner is None or isinstance(stopped, EngineError)
            if operation != "preview" and goes_on:  # else the account ends in this moment, and what stands in it
                with suppress(EngineError, NotRunningError, OSError):
                    self._record()
            if isinstance(stopped, EngineError):
                said = str(stopped)
                if supervisor.running(self.directory) is None:  # all that the engine says of it is noise
                    why = supervisor.last_words(self.directory)
                    said = f"the emulated account ended while the engine worked in it: {why}"
                raise EngineError(said, Result.together([*done, stopped.result])) from None
            raise
        if operation != "preview":
            self._record()
        return Result.together(done)

    def _config_of(self, layer: str) -> Path:
        """The configuration of a layer's stack: the environment's own, and which layer it is."""
        content = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        name = yaml.safe_load((self.project / "Pulumi.yaml").read_text(encoding="utf-8"))["name"]
        content["config"][f"{name}:layer"] = layer
        file = self.directory / "layers" / f"Pulumi.{self.environment}-{layer}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return file

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs after the last `up`."""
        return json.loads((self.directory / "outputs.json").read_text(encoding="utf-8"))

    def export(self) -> dict[str, Any]:
        """The stack's deployment after the last `up`, as `pulumi stack export` gives it; empty before the first."""
        file = self.directory / "export.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def aws_environment(self) -> dict[str, str]:
        """Variables with which any AWS SDK or the `aws` command reaches the emulated account."""
        region = None
        if (self.directory / "outputs.json").is_file():
            region = self.outputs().get("region")
        return emulated_aws_environment(self.endpoint, region)

    def kubernetes_environment(self) -> dict[str, str]:
        """Variables with which `kubectl` and other clients reach the rehearsed cluster as its administrator."""
        if not self.kubernetes:
            return {}
        return {"KUBECONFIG": str(supervisor.kubeconfig_of(self.directory))}

    def status(self) -> Status:
        """What runs now, and how many resources the last `up` left."""
        found = supervisor.running(self.directory)
        processes: tuple[dict[str, Any], ...] = ()
        if found is not None:
            processes = tuple(
                {"name": one.name, "pid": one.pid, "url": one.url, "log": one.log}
                for one in (found.supervisor, *found.services)
            )
        resources = 0
        if found is not None:
            resources = count_resources(self.export())
        return Status(
            self.environment,
            str(self.directory),
            found is not None,
            found.endpoint if found else None,
            processes,
            resources,
        )

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Held while one command changes the stack; raises `BusyError` where another holds it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.directory / "command.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(f"another command is at work in {self.directory}; wait for it to end") from None
        try:
            yield
        finally:
            lock.release()

    def _start_over_if_broken_off(self) -> bool:
        """Where an engine was killed in its midst, the account holds things that no state knows: begin anew."""
        locks = (self.directory / "engine" / "state" / ".pulumi" / "locks").rglob("*.json")
        held = [_is_held(lock) for lock in locks]
        if not held or any(held):
            return False
        owned = self._owner is not None
        self.stop()
        self.start(owned)
        return True

    def _record(self) -> None:
        """Keep what stands now, of all stacks together."""
        engines = self.engines()
        exports = [engine.export() for engine in engines]
        whole = exports[0]
        if len(exports) > 1:
            found = [(one.get("deployment") or {}).get("resources") or [] for one in exports]
            whole["deployment"]["resources"] = [resource for resources in found for resource in resources]
        outputs: dict[str, Any] = {}
        for engine in engines:
            outputs |= engine.outputs()
        _write(self.directory / "export.json", json.dumps(whole))
        _write(self.directory / "outputs.json", json.dumps(outputs, indent=2))


def account_in(config: Path) -> str | None:
    """The account that a stack's file names."""
    account = str(_setting(config, "account_id"))
    return account if re.fullmatch(r"\d{12}", account) else None


def caller_in(config: Path) -> str | None:
    """As whom the program runs: a session of the first role that the settings name for it, or of the first
    administrator's. So the cluster of a rehearsal has the same administrators as that of the account."""
    access = _setting(config, "access")
    for names in ("deployers", "administrators") if isinstance(access, dict) else ():
        for principal in access.get(names) or ():
            name = str(principal)
            role = name.rpartition("/")[2] if name.startswith("arn:") else prerequisites.sso_role_name(name)
            if ":role/" in name or not name.startswith("arn:"):
                return f"arn:aws:sts::{account_in(config) or ACCOUNT_ID}:assumed-role/{role}/rehearsal"
    return None


def _setting(config: Path, name: str) -> Any:
    """A setting of a stack's file as it stands there, whatever the project is called; None where it does not."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings = (content or {}).get("config") or {}
    return next((value for key, value in settings.items() if key.endswith(f":{name}")), None)


def _look(first: bool) -> tuple[str, ...]:
    return () if first else ("--refresh=false",)


def _is_held(lock: Path) -> bool:
    """Whether the engine that took a lock of the state still runs: its process, and not a later one of the same id."""
    try:
        said = json.loads(lock.read_text(encoding="utf-8"))
        since = started_at(int(said["pid"]))
        taken = datetime.fromisoformat(said["timestamp"]).timestamp() if "timestamp" in said else time.time()
    except (ValueError, TypeError, KeyError, OSError):
        return False  # broken off while it was written
    if since is None:
        return False
    seconds_ago = time.clock_gettime(time.CLOCK_BOOTTIME) - since
    return time.time() - seconds_ago <= taken + 1


def _write(file: Path, content: str) -> None:
    """Whole or not at all: whoever is killed while writing leaves the file as it was."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(file)


def count_resources(export: dict[str, Any]) -> int:
    """Resources of a deployment that a cloud holds: neither components, the stack nor providers."""
    resources = (export.get("deployment") or {}).get("resources") or []
    return sum(1 for one in resources if one.get("custom") and not one["type"].startswith("pulumi:"))
