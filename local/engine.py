"""The real Pulumi engine, run against an emulated account: its environment, its plugins, and what it reports.

An `Engine` runs the literal `pulumi` command on an unmodified project. Nothing of the user's Pulumi or AWS
configuration reaches it: PULUMI_HOME, state backend, passphrase and credentials are the rehearsal's own.
"""

from __future__ import annotations

import glob
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from trainyard.local import isolation
from trainyard.local.engine_events import EngineError, Event, Follower, Result, what_went_wrong
from trainyard.local.process import ENGINE_PID_VARIABLE, NOTING_VARIABLE, die_with_parent
from trainyard.policies.wire import SIGNATURE

__all__ = ["ACCOUNT_ID", "Engine", "EngineError", "Event", "Result", "emulated_aws_environment", "install_plugins"]

ACCOUNT_ID = "123456789012"
_STATE_VERSION = 3
# They protect nothing: the state is of an emulated account. `pulumi stack init` made the salt for the phrase.
_PASSPHRASE = "rehearsal"  # noqa: S105
_SALT = "v1:tNrh4qowKrM=:v1:VPvf3bUBOsrzb/tD:M1Es5sK04grmIc76U/1YCWMhziLXIw=="
_STACK_TYPE = "pulumi:pulumi:Stack"


class Engine:
    """Runs `pulumi` for one stack of one project.

    `home` holds all that the runs leave: plugins, state, events and the copy of the stack's configuration.
    """

    def __init__(
        self,
        pulumi: Path,
        project: Path,
        stack: str,
        home: Path,
        endpoint: str,
        config: Path | None = None,
        checkpoints: bool = True,
        noting: bool = False,
    ) -> None:
        """`checkpoints`: save the state at each step, and not only at the end of a run. `noting`: keep what is not
        emulated as the program writes it, and do not refuse it."""
        self.pulumi = pulumi
        self.project = project
        self.stack = stack
        self.home = home
        self.endpoint = endpoint
        self.checkpoints = checkpoints
        self.noting = noting
        self.config_file = home / f"Pulumi.{stack}.yaml"
        self.events_file = home / "events.jsonl"
        for folder in ("pulumi-home", "state", "temp"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        # `stack init` and `-c` write into the stack's file (an encryption salt): they get a copy.
        if config is not None:
            self.config_file.write_bytes(config.read_bytes())
        elif not self.config_file.exists():
            self.config_file.write_text("{}\n", encoding="utf-8")
        install_plugins(home)

    def environment(self) -> dict[str, str]:
        """Environment of the engine: the caller's, less all of its Pulumi and AWS settings, plus the rehearsal's."""
        mine = isolation.inherited()
        mine.update(emulated_aws_environment(self.endpoint))
        for name in ("HOME", "USER"):  # the engine asks for both, where no entry in /etc/passwd says who this is
            if not mine.get(name):
                mine[name] = str(self.home) if name == "HOME" else "rehearsal"
        mine.update(
            PULUMI_HOME=str(self.home / "pulumi-home"),
            PULUMI_BACKEND_URL=f"file://{quote(str(self.home / 'state'))}",
            PULUMI_CONFIG_PASSPHRASE=_PASSPHRASE,
            PULUMI_SKIP_UPDATE_CHECK="true",
            PULUMI_DEBUG_COMMANDS="true",  # the flag --event-log is one of them
            PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION="true",
            PULUMI_IGNORE_AMBIENT_PLUGINS="true",  # a real provider on the PATH would be preferred to the rehearsal's
            PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS="true",
            GRPC_ENABLE_FORK_SUPPORT="0",  # the language host's children exec at once; gRPC would warn at each fork
            TMPDIR=str(self.home / "temp"),
            PATH=os.pathsep.join([str(self.home / "commands"), os.environ.get("PATH", os.defpath)]),
        )
        if self.noting:
            mine[NOTING_VARIABLE] = "true"
        if not self.checkpoints:
            mine.update(PULUMI_EXPERIMENTAL="true", PULUMI_SKIP_CHECKPOINTS="true")
        return mine

    def ensure_stack(self) -> None:
        """Create the stack in the state backend unless it is there.

        `pulumi stack init` writes an encryption salt into the stack's file, so it runs in a folder of its own with a
        project of the same name, and the salt goes into the rehearsal's copy of the configuration.
        """
        if self._state_file().is_file():
            return  # the engine would say so too, and take a quarter of a second
        if any(self._stacks().rglob(f"{glob.escape(self.stack)}.*")):  # in a form that is not known here
            listed = self._json("stack", "ls", "--json")
            if self.stack in [entry["name"].split("/")[-1] for entry in listed]:
                return
        name = self._project_name
        with tempfile.TemporaryDirectory(dir=self.home / "temp") as folder:
            project = yaml.safe_dump({"name": name, "runtime": "python"})
            Path(folder, "Pulumi.yaml").write_text(project, encoding="utf-8")
            self._plain("stack", "init", self.stack, directory=Path(folder))
            made = Path(folder, f"Pulumi.{self.stack}.yaml")
            if not made.is_file():
                raise EngineError(f"{self.pulumi} stack init made no stack, and did not say why", Result("stack"))
            salted = yaml.safe_load(made.read_text(encoding="utf-8"))
        config = yaml.safe_load(self.config_file.read_text(encoding="utf-8")) or {}
        content = yaml.safe_dump(config | salted, sort_keys=False, allow_unicode=True)
        self.config_file.write_text(content, encoding="utf-8")

    def run(
        self,
        operation: str,
        *arguments: str,
        policy_pack: Path | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Result:
        """Run `preview`, `up`, `refresh`, `destroy` or `import`; raise `EngineError` where it fails.

        `on_event` is called with each engine event as it happens, on a thread of its own.
        """
        self.events_file.unlink(missing_ok=True)
        log = self.home / f"{operation.split()[0]}.log"
        command = [str(self.pulumi), *operation.split(), "--stack", self.stack, "--non-interactive", "--color", "never"]
        command += ["--config-file", str(self.config_file), "--event-log", str(self.events_file)]
        if policy_pack is not None:
            command += ["--policy-pack", str(policy_pack)]
        if operation != "preview":
            command += ["--yes", "--skip-preview"]
        result = Result(operation)
        started = time.monotonic()
        with log.open("w") as out:  # a file: whoever reads a pipe may be killed, and the engine has to finish its steps
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=self.project,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_interrupted_with_parent,
            )
        follower = Follower(self.events_file, process, result, on_event)
        follower.start()
        try:
            process.wait()
        except BaseException:
            _interrupt(process)
            raise
        follower.join()
        result.exit_status = process.returncode
        result.seconds = time.monotonic() - started
        if process.returncode != 0:
            said = what_went_wrong(result) or log.read_text(encoding="utf-8", errors="replace").strip()
            raise EngineError(f"pulumi {operation} failed:\n{said}", result)
        if follower.failed is not None:
            raise follower.failed
        if not result.complete:
            raise EngineError(f"pulumi {operation} told only a part of what it did: {self.events_file} is cut", result)
        return result

    def export(self) -> dict[str, Any]:
        """The stack's deployment, as `pulumi stack export` prints it."""
        return self._kept_state() or self._json("stack", "export", "--stack", self.stack)

    def take_over(self, export: Mapping[str, Any]) -> None:
        """Make an exported deployment the stack's state, whatever it was before. Its secrets have to be open: the key
        that closed them is elsewhere, and the rehearsal's own closes them again."""
        provider = {"type": "passphrase", "state": {"salt": _SALT}}  # without one the engine ends in a panic
        export = {**export, "deployment": {**export["deployment"], "secrets_providers": provider}}
        with tempfile.NamedTemporaryFile("w", dir=self.home / "temp", suffix=".json", encoding="utf-8") as file:
            json.dump(export, file)
            file.flush()
            self._plain("stack", "import", "--file", file.name, "--force", "--stack", self.stack)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        resources = ((self._kept_state() or {}).get("deployment") or {}).get("resources") or []
        outputs = next((one.get("outputs") or {} for one in resources if one["type"] == _STACK_TYPE), None)
        if outputs is None or SIGNATURE in json.dumps(outputs):  # a secret, or an asset, is the engine's to open
            return self._json("stack", "output", "--json", "--show-secrets", "--stack", self.stack)
        return outputs

    def _kept_state(self) -> dict[str, Any] | None:
        """What `export` gives, from where the engine keeps it: a process of the engine takes half a second to print
        the same. None where it keeps none, or in a form that is not known here."""
        try:
            kept = json.loads(self._state_file().read_text(encoding="utf-8"))
            if kept["version"] == _STATE_VERSION and kept["checkpoint"]["latest"]["resources"]:
                return {"version": _STATE_VERSION, "deployment": kept["checkpoint"]["latest"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _stacks(self) -> Path:
        return self.home / "state" / ".pulumi" / "stacks"

    def _state_file(self) -> Path:
        return self._stacks() / self._project_name / f"{self.stack}.json"

    @cached_property
    def _project_name(self) -> str:
        return yaml.safe_load((self.project / "Pulumi.yaml").read_text(encoding="utf-8"))["name"]

    def command_directory(self, others: Mapping[str, Path] | None = None) -> Path:
        """A folder for the PATH whose `pulumi` a person may type, from anywhere; and `others`, as they are.

        It works on the project, with the rehearsal's copy of the configuration: the engine would otherwise write the
        rehearsal's encryption salt into the environment's own file. What would be lost or go astray there is refused.
        """
        folder = self.home / "bin"
        for name, executable in (others or {}).items():
            _write_script(folder / name, f'exec {shlex.quote(str(executable))} "$@"\n')
        pulumi = f"exec {shlex.quote(str(self.pulumi))} --cwd {shlex.quote(str(self.project))}"
        _write_script(
            folder / "pulumi",
            f"""verb= object= skip=
for word in "$@"; do
    if [ -n "$skip" ]; then skip=; continue; fi
    case "$word" in
        -s|--stack|-C|--cwd|--color|-v|--verbose|--path) skip=1 ;;
        -*) ;;
        *) if [ -z "$verb" ]; then verb=$word; else object=$word; break; fi ;;
    esac
done
case "$verb $object" in
    "config set"|"config rm"|"config set-all"|"config rm-all"|"stack init"|"stack rm")
        echo "not in a rehearsal: edit the environment's file in stacks/environments, then run trainyard local up" >&2
        exit 2 ;;
esac
case "$verb" in
    preview|pre|up|update|refresh|destroy|import|config|watch)
        {pulumi} "$@" --config-file {shlex.quote(str(self.config_file))} ;;
esac
{pulumi} "$@"
""",
        )
        return folder

    def _json(self, *arguments: str) -> Any:
        said = self._plain(*arguments)
        try:
            return json.loads(said)
        except ValueError:
            asked = f"{self.pulumi} {' '.join(arguments[:2])}"
            raise EngineError(f"{asked} printed no JSON, but {said[:200]!r}", Result(arguments[0])) from None

    def _plain(self, *arguments: str, directory: Path | None = None) -> str:
        done = subprocess.run(
            [str(self.pulumi), *arguments],
            cwd=directory or self.project,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            preexec_fn=die_with_parent,
        )
        if done.returncode != 0:
            raise EngineError(
                f"pulumi {' '.join(arguments[:2])} failed:\n{done.stderr.strip()}",
                Result(arguments[0], done.returncode),
            )
        return done.stdout


def emulated_aws_environment(endpoint: str, region: str | None = None) -> dict[str, str]:
    """What a process needs to reach the emulated account with any AWS SDK or the `aws` command."""
    variables = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    variables |= isolation.loopback_without_proxy()
    if region:
        variables["AWS_REGION"] = variables["AWS_DEFAULT_REGION"] = region
    return variables


def install_plugins(home: Path) -> None:
    """Put the language host and the providers that know the rehearsal where the engine looks for them.

    The engine prefers an official language host beside its own executable. A kubeconfig of EKS calls the
    `aws` command, which stands in a folder of its own: the virtual environment's others need not be on the PATH.
    """
    plugins = home / "pulumi-home" / "plugins"
    _shim(plugins / f"language-python-v{version('pulumi')}" / "pulumi-language-python", "trainyard.local.language_host")
    _shim(plugins / f"resource-aws-v{version('pulumi-aws')}" / "pulumi-resource-aws", "trainyard.local.aws.plugin")
    kubernetes = plugins / f"resource-kubernetes-v{version('pulumi-kubernetes')}" / "pulumi-resource-kubernetes"
    _shim(kubernetes, "trainyard.local.kubernetes.provider")
    _write_script(home / "commands" / "aws", f'exec {shlex.quote(sys.executable)} -m awscli "$@"\n')


def _shim(path: Path, module: str) -> None:
    _write_script(path, f'{ENGINE_PID_VARIABLE}=$PPID exec {shlex.quote(sys.executable)} -m {module} "$@"\n')


def _write_script(path: Path, body: str) -> None:
    content = f"#!/bin/sh\n{body}"
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as partial:
        partial.write(content)
    Path(partial.name).chmod(0o755)
    Path(partial.name).replace(path)


def _interrupted_with_parent() -> None:
    """The engine finishes its steps when its parent is gone, also where that was started with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent(signal.SIGINT)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Let the engine finish the steps under way and write its state, as a first Ctrl-C does; then end it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
