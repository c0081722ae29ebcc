"""The pods' own programs, run by a shell: they count devices, and let no job train over TCP unseen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import WAIT_SECONDS, wait_until

from trainyard.modules.efa_proof import NCCL_LOGS, device_check, guarded_launch

# As NCCL 2.27 with aws-ofi-nccl 1.16 writes them (NVIDIA/nccl #1597, shortened).
START = "ip-10-1:831:840 [0] NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.16.0\n"
EFA = """\
ip-10-1:831:840 [0] NCCL INFO NET/OFI Using transport protocol RDMA (platform set)
ip-10-1:831:840 [0] NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 16 nics)
ip-10-1:831:840 [0] NCCL INFO Using network Libfabric
"""
OLDER_EFA = "ip-10-1:831:840 [0] NCCL INFO NET/OFI Selected Provider is efa (found 4 nics)\n"
TCP = """\
ip-10-1:831:840 [0] NCCL WARN NET/OFI Couldn't find any optimal provider
ip-10-1:831:840 [0] NCCL INFO NET/Socket : Using [0]eth0:10.1.0.7<0>
ip-10-1:831:840 [0] NCCL INFO Using network Socket
"""
COMPLETE = "ip-10-1:831:840 [0] NCCL INFO ncclCommInitRank comm 0x5 rank 0 nranks 16 commId 0xad - Init COMPLETE\n"

RANKS = 2
ARGUMENTS = ("--nnodes=2", f"--nproc-per-node={RANKS}", "--", "--config", "gpt2-124m")


ENDLESS = """
while not (folder / 'said').exists(): time.sleep(0.02)
time.sleep(0.5)
"""


class Pod:
    """A folder with a stand-in for the launcher, which does what a test says, and the guard's program beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = guarded_launch().replace("sleep 5", "sleep 0.1")
        for there, here in ((str(Path(NCCL_LOGS).parent), folder), ("/dev/termination-log", folder / "message")):
            self.program = self.program.replace(there, str(here))

    def start(self, work: str, **environment: str) -> subprocess.Popen[str]:
        """Run the guard. `work` is the stand-in's program in Python; `log(rank, text)` writes NCCL's log there."""
        stand_in = self.folder / "trainer-launch"
        stand_in.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, signal, sys, time\n"
            f"folder = pathlib.Path({str(self.folder)!r})\n"
            "def log(rank, text):\n"
            "    with (folder / f'nccl-ip-10-1-{rank}.log').open('a') as file: file.write(text)\n" + work
        )
        stand_in.chmod(0o755)
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.Popen(
            ["/bin/sh", "-c", self.program, "trainer-launch", *ARGUMENTS],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr").open("w"),
            text=True,
            env={"PATH": path, **environment},
        )

    def run(self, work: str, until_said: str = "", **environment: str) -> tuple[int, str, str]:
        """Exit status, and what went to stdout and stderr. `END` in the stand-in's work lasts until the guard has said
        `until_said`, and then a moment."""
        process = self.start(work.replace("END", ENDLESS), **environment)
        try:
            if until_said:
                wait_until(lambda: until_said in self.said)
                (self.folder / "said").touch()
            out, _ = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
        return process.returncode, out, self.said

    @property
    def said(self) -> str:
        """What the guard has said so far."""
        return (self.folder / "stderr").read_text()

    @property
    def message(self) -> str:
        """The pod's termination message."""
        file = self.folder / "message"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def _all_ranks(text: str) -> str:
    return f"for rank in range({RANKS}): log(rank, {START + text!r})\n"


@pytest.mark.parametrize("provider", [EFA, OLDER_EFA], ids=["new", "old"])
def test_a_job_over_efa_goes_on_and_its_log_has_the_proof_once(pod: Pod, provider: str) -> None:
    work = _all_ranks(provider + COMPLETE) + "END\nprint(sys.argv[1:]); sys.exit(7)"
    status, out, err = pod.run(work, until_said="rovider is efa")
    assert status == 7
    assert out.strip() == str(list(ARGUMENTS))
    (line,) = [line for line in err.splitlines() if "provider is efa" in line.lower()]
    assert line.split()[0] == str(RANKS), "so many ranks said it"
    assert pod.message == ""


def test_a_job_over_tcp_is_ended_and_says_why(pod: Pod) -> None:
    status, _, err = pod.run(_all_ranks(TCP + COMPLETE) + "time.sleep(600)")
    assert status == 2, "what the job's failure policy takes for final"
    for said in (err, pod.message):
        assert "NCCL trains without EFA: Using network Socket in " in said
        assert "security group" in said


def test_one_rank_without_efa_is_enough(pod: Pod) -> None:
    work = f"log(0, {START + EFA + COMPLETE!r}); time.sleep(0.5); log(1, {START + TCP + COMPLETE!r}); time.sleep(600)"
    assert pod.run(work)[0] == 2


def test_a_plugin_that_is_not_there_is_seen_as_well(pod: Pod) -> None:
    status, _, err = pod.run(f"log(0, {COMPLETE!r}); time.sleep(600)")
    assert status == 2
    assert "no network named" in err


def test_where_a_warning_is_asked_for_the_job_goes_on(pod: Pod) -> None:
    work = _all_ranks(TCP + COMPLETE) + "END"
    status, _, err = pod.run(work, "NCCL trains without EFA", TRAINYARD_WITHOUT_EFA="warn")
    assert status == 0
    assert err.count("NCCL trains without EFA") == 1


def test_nothing_is_said_before_the_communicators_stand_nor_where_there_are_none(pod: Pod) -> None:
    for work in (_all_ranks(TCP), ""):
        status, _, err = pod.run(work + "time.sleep(0.6)")
        assert (status, err) == (0, "")


def test_what_nccl_warned_of_is_shown_where_the_job_fails(pod: Pod) -> None:
    _, _, err = pod.run(_all_ranks(TCP) + "sys.exit(1)")
    assert err.count("NCCL WARN NET/OFI Couldn't find any optimal provider") == 1


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for a signal (proc_pid_status(5), SigCgt)."""
    (caught,) = re.findall(r"^SigCgt:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_reaches_the_launcher_which_takes_its_time_and_gives_the_status(
    pod: Pod, told: signal.Signals
) -> None:
    work = (
        f"def end(*_):\n    time.sleep(0.5); print('saved', flush=True); sys.exit(75)\n"
        f"signal.signal({int(told)}, end); (folder / 'ready').touch(); time.sleep(600)"
    )
    process = pod.start(work)
    wait_until(lambda: (pod.folder / "ready").exists() and _catches(process.pid, told))
    process.send_signal(told)
    out, _ = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, out) == (75, "saved\n")


def test_the_launcher_that_is_killed_counts_as_killed(pod: Pod) -> None:
    assert pod.run("import os; os.kill(os.getpid(), signal.SIGKILL)")[0] == 128 + signal.SIGKILL


@pytest.mark.parametrize(("devices", "status"), [(0, 1), (3, 1), (4, 0)])
def test_the_device_check_counts(tmp_path: Path, devices: int, status: int) -> None:
    """The program itself, on a folder that stands for /dev/infiniband."""
    for number in range(devices):
        (tmp_path / f"uverbs{number}").touch()
    program = device_check(4).replace("/dev/infiniband", str(tmp_path))
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert bool(re.search(rf"{devices} EFA devices of 4", done.stderr)) is (status == 1)
