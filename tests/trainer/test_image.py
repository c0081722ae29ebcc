"""The image's ingredients: the lock it installs from, the environment it sets, and how it trusts the EFA installer."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CONTEXT = REPOSITORY / "training_images"
VERSION = "1.48.0"


def pins(lock: Path) -> dict[str, frozenset[str]]:
    """`name==version` and environment marker -> hashes."""
    found: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if pin := re.match(r"([a-z0-9._-]+==[^\s;]+)", line, re.IGNORECASE):
            current = found.setdefault(pin[1], set())
        elif hashed := re.match(r"\s+--hash=(sha256:[0-9a-f]{64})", line):
            current.add(hashed[1])
    return {pin: frozenset(hashes) for pin, hashes in found.items()}


def test_the_image_gets_what_the_tests_ran_with() -> None:
    image, project = pins(CONTEXT / "requirements.lock"), pins(REPOSITORY / "requirements.lock")
    assert len(image) > 50
    assert {pin: hashes for pin, hashes in image.items() if hashes != project.get(pin)} == {}
    assert all(image.values())
    names = {pin.partition("==")[0] for pin in image}
    wanted = tomllib.loads((CONTEXT / "trainer" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[<>=]", one)[0] for one in wanted} | {"nvidia-nccl-cu13", "setuptools"} <= names
    assert not {"pulumi", "moto", "pytest"} & names
    assert "://" not in (CONTEXT / "requirements.lock").read_text()


def instructions() -> list[str]:
    text = (CONTEXT / "Dockerfile").read_text()
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [line.strip() for line in joined.splitlines() if line.strip()]


def test_the_image_runs_as_a_numbered_user_and_freezes_no_network_setting() -> None:
    users = [line.split()[1] for line in instructions() if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    environment = " ".join(line for line in instructions() if line.startswith("ENV "))
    assert not re.search(r"\b(FI_|NCCL_|RDMAV_|LD_LIBRARY_PATH|AWS_)", environment)
    assert not [line for line in instructions() if line.startswith("ARG ") and re.search("TOKEN|SECRET|PASSWORD", line)]


def test_the_build_sees_only_what_it_uses() -> None:
    ignored = (CONTEXT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert all((CONTEXT / path).exists() for path in allowed)
    used = set(re.findall(r"source=(\S+?),", " ".join(instructions())))
    assert {path.split("/")[0] for path in allowed} == used
    assert not any(fnmatch.fnmatch("trainer/build", path) for path in allowed)


class Source:
    """A download site with an installer that notes how it was called, signed with a key made for the test."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.ran = folder / "ran"
        self.home = folder / "gnupg"
        self.home.mkdir(mode=0o700)
        self.site.mkdir()
        self.fingerprint = self.make_key("good")
        self.gpg("--armor", "--output", str(self.site / "aws-efa-installer.key"), "--export", self.fingerprint)
        self.pack("original")
        self.sign(self.fingerprint)

    def gpg(self, *arguments: str) -> str:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def make_key(self, name: str) -> str:
        self.gpg("--passphrase", "", "--quick-generate-key", f"{name}@example.com", "ed25519", "sign", "never")
        listed = self.gpg("--with-colons", "--list-keys", f"{name}@example.com")
        return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))

    @property
    def archive(self) -> Path:
        return self.site / f"aws-efa-installer-{VERSION}.tar.gz"

    def pack(self, content: str) -> None:
        installer = self.site.parent / "efa_installer.sh"
        installer.write_text(f'#!/bin/sh\necho {content} "$@" > {self.ran}\n')
        installer.chmod(0o755)
        with tarfile.open(self.archive, "w:gz") as archive:
            archive.add(installer, "aws-efa-installer/efa_installer.sh")

    def sign(self, key: str) -> None:
        self.gpg("--local-user", key, "--output", f"{self.archive}.sig", "--detach-sign", str(self.archive))

    def install(self, fingerprint: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(CONTEXT / "install_efa.sh"), VERSION, fingerprint, f"file://{self.site}"]
        return subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(self.site.parent)}
        )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    missing = [tool for tool in ("gpg", "curl") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return Source(tmp_path)


def test_a_rightly_signed_installer_runs_for_a_container(source: Source) -> None:
    done = source.install(source.fingerprint)
    assert done.returncode == 0, done.stderr
    flags = source.ran.read_text().split()
    assert {"original", "-y", "--skip-kmod", "--disable-build-ngc"} <= set(flags)
    assert not list(source.site.parent.glob("tmp.*"))


def test_a_changed_installer_does_not_run(source: Source) -> None:
    source.pack("changed")
    done = source.install(source.fingerprint)
    assert done.returncode == 1
    assert "is not valid: not installed" in done.stderr
    assert not source.ran.exists()


def test_a_key_swapped_together_with_the_archive_does_not_help(source: Source) -> None:
    other = source.make_key("other")
    source.pack("changed")
    source.sign(other)
    source.gpg("--armor", "--output", str(source.site / "aws-efa-installer.key"), "--export", other)
    done = source.install(source.fingerprint)
    assert done.returncode == 1
    assert f"signed by another key than {source.fingerprint}" in done.stderr
    assert not source.ran.exists()


def test_a_missing_signature_stops_the_build(source: Source) -> None:
    Path(f"{source.archive}.sig").unlink()
    assert source.install(source.fingerprint).returncode != 0
    assert not source.ran.exists()
