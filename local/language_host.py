"""`pulumi-language-python` for the rehearsal: the gRPC server through which the engine runs programs and policy packs.

The official host is part of Pulumi's own downloads; where an installation has it on the PATH, the engine finds that one
first. This one does what the rehearsal needs of it: it runs the program and the policy pack as the official host does,
each in a Python process of its own, in the virtual environment that `Pulumi.yaml` or `PulumiPolicy.yaml` names.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import LanguageRuntimeServicer, language_pb2, language_pb2_grpc, plugin_pb2

from trainyard.local.process import die_with_engine, die_with_parent

PROGRAM_RUNNER = Path(__file__).with_name("program_runner.py")
ERROR_ALREADY_SHOWN = 32
"""Exit status of the runner after it has told the engine what went wrong: nothing is left to say."""


class LanguageHost(LanguageRuntimeServicer):
    """Runs programs (`Run`) and policy packs (`RunPlugin`); the rest says that there is nothing to do."""

    def __init__(self, engine_address: str) -> None:
        self.engine_address = engine_address
        self._children: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request, context):
        self.engine_address = request.engine_address or self.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request, context):
        return plugin_pb2.PluginInfo(version="0.0.0-rehearsal")

    def GetRequiredPlugins(self, request, context):
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request, context):
        return language_pb2.GetRequiredPackagesResponse()  # each resource names its provider's version itself

    def About(self, request, context):
        return language_pb2.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def GetProgramDependencies(self, request, context):
        return language_pb2.GetProgramDependenciesResponse()

    def InstallDependencies(self, request, context):
        yield language_pb2.InstallDependenciesResponse(stdout=b"dependencies come from the virtual environment\n")

    def Run(self, request, context):
        settings = {
            "monitor_address": request.monitor_address,
            "engine_address": self.engine_address or (request.args[0] if request.args else ""),
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization or "organization",
            "parallel": request.parallel,
            "dry_run": request.dryRun,
            "config": dict(request.config),
            "config_secret_keys": list(request.configSecretKeys),
            "program": request.info.program_directory,
            "root": request.info.root_directory,
        }
        status = self.run_program(settings, request.pwd or request.info.program_directory, request.info)
        if status == 0:
            return language_pb2.RunResponse()
        if status == ERROR_ALREADY_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with status {status}")

    def run_program(self, settings: Mapping[str, Any], folder: str, info: language_pb2.ProgramInfo) -> int:
        """Run a program in `folder` with the runner's settings; the exit status of its process."""
        child = self._start(
            [_interpreter(info), "-u", str(PROGRAM_RUNNER)],
            cwd=folder,
            environment=_own_packages_first(info.root_directory),
            standard_input=subprocess.PIPE,
        )
        for kind, content in self._outputs(child, json.dumps(settings).encode()):
            stream = sys.stdout.buffer if kind == "stdout" else sys.stderr.buffer
            stream.write(content)
            stream.flush()
        return child.wait()

    def RunPlugin(self, request, context) -> Iterator[language_pb2.RunPluginResponse]:
        if request.kind not in ("", "analyzer"):
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED, f"the rehearsal runs no {request.kind} plugins in Python source"
            )
        child = self._start(
            [_interpreter(request.info), "-u", "-m", "pulumi.policy", *request.args, request.info.program_directory],
            cwd=request.pwd,
            environment=dict(item.split("=", 1) for item in request.env),
        )
        context.add_callback(lambda: _end(child))
        for kind, content in self._outputs(child):
            yield language_pb2.RunPluginResponse(**{kind: content})  # ty: ignore[invalid-argument-type]
        yield language_pb2.RunPluginResponse(exitcode=child.wait())

    def Cancel(self, request, context):
        for child in list(self._children):
            _end(child)
        return empty_pb2.Empty()  # ty: ignore[missing-attribute]  # made when it is imported

    def _start(
        self, command: list[str], cwd: str, environment: dict[str, str], standard_input: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        # This runs on a worker thread of the server, which lives as long as the server: die_with_parent holds.
        child = subprocess.Popen(
            command,
            cwd=cwd or None,
            env=environment,
            stdin=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        self._children.add(child)
        return child

    def _outputs(
        self, child: subprocess.Popen[bytes], standard_input: bytes | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """What the child writes, as it writes it: (`stdout` or `stderr`, bytes)."""
        arrived: queue.Queue[tuple[str, bytes] | None] = queue.Queue()

        def pump(kind: str, stream) -> None:
            while content := stream.read1(65536):
                arrived.put((kind, content))
            arrived.put(None)

        streams = {"stdout": child.stdout, "stderr": child.stderr}
        for kind, stream in streams.items():
            threading.Thread(target=pump, args=(kind, stream), daemon=True).start()
        if standard_input is not None and child.stdin is not None:
            child.stdin.write(standard_input)
            child.stdin.close()
        still_open = len(streams)
        while still_open:
            item = arrived.get()
            if item is None:
                still_open -= 1
            else:
                yield item
        child.wait()
        self._children.discard(child)


def _interpreter(info: language_pb2.ProgramInfo) -> str:
    """The Python of the virtual environment that the project names, as an absolute path; else this process's own."""
    if "virtualenv" not in info.options:
        return sys.executable
    named = info.options["virtualenv"]
    python = Path(info.root_directory, str(named)) / "bin" / "python"
    if not python.is_file():
        raise FileNotFoundError(
            f"the project in {info.root_directory} names the virtual environment {named!r}, but {python} does not exist"
        )
    return str(python)


def _own_packages_first(root: str) -> dict[str, str]:
    """The environment of a program: what it imports lies beside it, whichever checkout this host is from.

    An earlier revision, brought up to be compared with this one, would otherwise run with the modules of today.
    """
    if not Path(root, "trainyard", "__init__.py").is_file():
        return dict(os.environ)
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()


def main() -> None:
    die_with_engine()
    serve(LanguageHost(next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")))


def serve(host: LanguageHost) -> None:
    """Serve on a free port of the loopback interface and print it, until the engine says that it is enough."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        options=[
            ("grpc.max_receive_message_length", 400 * 1024 * 1024),
            ("grpc.max_send_message_length", 400 * 1024 * 1024),
        ],
    )
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # The engine gives its plugins a process group of their own and interrupts them when it closes.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: server.stop(grace=None))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
