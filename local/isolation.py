"""What a rehearsal takes over from the environment of whoever starts it: nothing that leads to a real account or
cluster, and nothing that its own processes would take for settings of theirs.

Example: `subprocess.Popen(command, env=isolation.inherited())`; in this process `with isolation.only(variables): …`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager

FOREIGN = ("AWS_", "BOTO_", "ETCD_", "MOTO_", "PULUMI_")
"""Beginnings of the names of variables that AWS SDKs, etcd (a variable for each of its flags), moto and Pulumi read."""

CLUSTERS = ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
"""Variables by which a client of Kubernetes finds a cluster, also from within one of its pods."""


def inherited() -> dict[str, str]:
    """The caller's environment for a process of the rehearsal, without what is foreign there."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN) and name not in CLUSTERS}
    mine["KUBECONFIG"] = os.devnull  # without it clients look into the home folder
    return mine | loopback_without_proxy()


def loopback_without_proxy() -> dict[str, str]:
    """Whatever proxy the user has does not stand between the rehearsal's own processes."""
    return {
        name: ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
        for name in ("NO_PROXY", "no_proxy")
    }


@contextmanager
def only(aws: Mapping[str, str]) -> Generator[None]:
    """Inside the block this process's AWS settings are those in `aws` and no others."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "BOTO_")):
            del os.environ[name]
    os.environ.update(aws)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
