"""The control plane of a rehearsal's cluster: etcd, the API server and the controllers, all on loopback.

There are no nodes and no scheduler: objects are checked, stored and reconciled as in a real cluster, pods stay
pending. `prepare` makes certificates and settings in a folder and returns the services to start; the folder's
`kubeconfig` is an administrator's. By hand: `python -m trainyard.local.kubernetes.control_plane FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard.local.kubernetes.certificates import Authority, KeyPair, signing_keys
from trainyard.local.service import Service, free_ports

LOOPBACK = "127.0.0.1"
SERVICE_CIDR = "10.100.0.0/16"
"""What EKS takes where the VPC does not use it. Source: EKS user guide, "View Amazon EKS networking requirements"."""

_AUTHENTICATION_KEPT_SECONDS = 1
"""How long the webhook's answer is kept. Above it the API server keeps each token that it accepted for 10 s, which no
flag changes: so long an identity outlives its access entry."""

_NEEDLESS_CONTROLLERS = (
    # There are no nodes, no cloud and no kubelets whose certificates would have to be signed.
    *("node-ipam-controller", "node-lifecycle-controller", "node-route-controller", "service-lb-controller"),
    *("cloud-node-lifecycle-controller", "persistentvolume-attach-detach-controller", "taint-eviction-controller"),
    *("certificatesigningrequest-signing-controller", "certificatesigningrequest-approving-controller"),
    *("certificatesigningrequest-cleaner-controller", "bootstrap-signer-controller", "token-cleaner-controller"),
    *("legacy-serviceaccount-token-cleaner-controller", "device-taint-eviction-controller"),
)


@dataclass(frozen=True)
class ControlPlane:
    """What a control plane is made of, before it is started."""

    endpoint: str
    certificate_authority: Path
    administrator: KeyPair
    kubeconfig: Path
    services: tuple[Service, ...]


def prepare(folder: Path, binaries: Mapping[str, Path], token_review_url: str | None = None) -> ControlPlane:
    """Make an empty control plane in `folder`; one that was there before is gone.

    `binaries` are the paths of etcd, kube-apiserver and kube-controller-manager; `token_review_url` is who is asked
    about bearer tokens that are no service account's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    authority = Authority(folder / "certificates")
    ports = free_ports(4)
    etcd, peer, api, controllers = (f"{LOOPBACK}:{port}" for port in ports)
    administrator = authority.issue("administrator", "administrator", ("system:masters",))
    kubeconfig = folder / "kubeconfig"
    endpoint = f"https://{api}"
    _write_kubeconfig(kubeconfig, endpoint, authority.certificate, administrator)
    server = authority.issue(
        "server", "kube-apiserver", hosts=(LOOPBACK, "localhost", "kubernetes.default.svc", _first_of(SERVICE_CIDR))
    )
    accounts = signing_keys(authority.folder, "service-accounts")
    services = (
        _etcd(binaries["etcd"], folder / "etcd", etcd, peer),
        _api_server(binaries["kube-apiserver"], folder, authority, server, accounts, api, etcd, token_review_url),
        _controllers(binaries["kube-controller-manager"], folder, authority, server, accounts, controllers, endpoint),
    )
    return ControlPlane(endpoint, authority.certificate, administrator, kubeconfig, services)


def _etcd(binary: Path, data: Path, client: str, peer: str) -> Service:
    command = (
        str(binary),
        *("--name", "rehearsal", "--data-dir", str(data), "--log-level", "warn"),
        *("--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}"),
        *("--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}"),
        *("--initial-cluster", f"rehearsal=http://{peer}"),
        "--unsafe-no-fsync",  # the store ends with the rehearsal: no power cut is to be survived
        *("--snapshot-count", "5000"),
    )
    return Service("etcd", command, f"http://{client}", ready_path="/health", environment={"GOMEMLIMIT": "128MiB"})


def _api_server(
    binary: Path,
    folder: Path,
    authority: Authority,
    server: KeyPair,
    accounts: KeyPair,
    address: str,
    etcd: str,
    token_review_url: str | None,
) -> Service:
    host, _, port = address.partition(":")
    command = [
        str(binary),
        *("--bind-address", host, "--secure-port", port, "--advertise-address", host),
        "--endpoint-reconciler-type=none",  # an endpoint on loopback is not valid, and no pod would ask for it
        f"--etcd-servers=http://{etcd}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
        f"--client-ca-file={authority.certificate}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,PodSecurity",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
        "--allow-privileged=true",  # as EKS: device plugins and storage drivers are; Pod Security guards the teams
        "--profiling=false",
        "--default-watch-cache-size=20",
        "--max-requests-inflight=200",
        "--event-ttl=1h",
        "--shutdown-delay-duration=0s",
    ]
    if token_review_url:
        webhook = folder / "token-review.json"
        webhook.write_text(json.dumps(_kubeconfig_document({"server": token_review_url}, {})))
        command += [
            f"--authentication-token-webhook-config-file={webhook}",
            "--authentication-token-webhook-version=v1",
            f"--authentication-token-webhook-cache-ttl={_AUTHENTICATION_KEPT_SECONDS}s",
        ]
    return Service(
        "kube-apiserver",
        tuple(command),
        f"https://{address}",
        ready_path="/readyz",
        authority=authority.certificate,
        after=("etcd",),
        environment={"GOMEMLIMIT": "512MiB", "GOGC": "200"},  # with 60 it collects for a second of its start
    )


def _controllers(
    binary: Path,
    folder: Path,
    authority: Authority,
    server: KeyPair,
    accounts: KeyPair,
    address: str,
    endpoint: str,
) -> Service:
    client = authority.issue("controllers", "system:kube-controller-manager")
    kubeconfig = folder / "controllers.json"
    _write_kubeconfig(kubeconfig, endpoint, authority.certificate, client)
    host, _, port = address.partition(":")
    command = (
        str(binary),
        f"--kubeconfig={kubeconfig}",
        *("--bind-address", host, "--secure-port", port),
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
        "--authentication-skip-lookup=true",
        f"--root-ca-file={authority.certificate}",
        f"--service-account-private-key-file={accounts.key}",
        "--use-service-account-credentials=true",  # each controller with the rights that a cluster gives it
        "--leader-elect=false",
        "--profiling=false",
        "--controllers=" + ",".join(["*", *(f"-{name}" for name in _NEEDLESS_CONTROLLERS)]),
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )
    return Service(
        "kube-controller-manager",
        command,
        f"https://{address}",
        ready_path="/healthz",
        authority=authority.certificate,
        after=("kube-apiserver",),
        environment={"GOMEMLIMIT": "256MiB"},
    )


def _write_kubeconfig(path: Path, endpoint: str, authority: Path, client: KeyPair) -> None:
    user = {"client-certificate": str(client.certificate), "client-key": str(client.key)}
    path.touch(mode=0o600)
    path.write_text(
        json.dumps(_kubeconfig_document({"server": endpoint, "certificate-authority": str(authority)}, user), indent=2)
    )


def _kubeconfig_document(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "rehearsal", "cluster": dict(cluster)}],
        "users": [{"name": "rehearsal", "user": dict(user)}],
        "contexts": [{"name": "rehearsal", "context": {"cluster": "rehearsal", "user": "rehearsal"}}],
        "current-context": "rehearsal",
    }


def _first_of(cidr: str) -> str:
    """The address of the service `kubernetes`: the first of the range."""
    import ipaddress

    return str(next(ipaddress.ip_network(cidr).hosts()))


def find_binaries() -> dict[str, Path]:
    """The executables of a control plane; builds them where there are none yet."""
    from trainyard.local import toolchain

    return toolchain.find_all("etcd") | toolchain.find_all("kubernetes")


def main() -> int:
    """Run a control plane in the foreground, until Ctrl-C."""
    from trainyard.local.service import ServiceError, Services

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    plane = prepare(folder, find_binaries())
    services = Services(plane.services, folder)
    try:
        services.start()
        print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
        while services.ended() is None:
            time.sleep(0.5)
        print(services.ended(), file=sys.stderr)
    except ServiceError as failed:
        print(failed, file=sys.stderr)
    except KeyboardInterrupt:
        return 0
    finally:
        services.end()
    return 1


if __name__ == "__main__":
    sys.exit(main())
