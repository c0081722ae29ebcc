"""Who the bearer of an `aws eks get-token` token is: the token review of the rehearsal's API server.

The token is a signed request for STS GetCallerIdentity. The emulated STS says whose it is, the emulated EKS whether an
access entry lets that principal in, and which policies go with it. Unlike AWS, the emulated STS does not verify
signatures: that the token was made for this very cluster is taken from its signed headers, not proven.

Source: https://github.com/kubernetes-sigs/aws-iam-authenticator (form of the token and its checks), read 2026-11.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

from trainyard.local.kubernetes.access_policies import AccessPolicies, Grant

PATH = "/trainyard/token-review"

_PREFIX = "k8s-aws-v1."
_CLUSTER_HEADER = "x-k8s-aws-id"
_VALID_FOR = timedelta(minutes=15)
"""As EKS: whatever a token says of its own expiry."""
_LONGEST_BYTES = 16_384
_ANSWER_WITHIN_SECONDS = 30
_STS = re.compile(r"sts(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?\Z")
_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A token that lets nobody in; the message says why."""


@dataclass(frozen=True)
class Caller:
    """Who made a token."""

    arn: str
    user_id: str
    region: str
    access_key_id: str

    @property
    def principal(self) -> tuple[str, str]:
        """What an access entry is looked up by: account and name, of a role without path or session."""
        return _principal(self.arn)

    @property
    def session(self) -> str:
        """The session's name, where a role was assumed."""
        return self.arn.rsplit("/", 1)[1] if ":assumed-role/" in self.arn else ""


@dataclass(frozen=True)
class Identity:
    """Who somebody is to the API server."""

    username: str
    groups: tuple[str, ...]
    uid: str
    extra: dict[str, list[str]]


class Authenticator:
    """Answers for the emulated account at `endpoint` and the cluster of `policies`."""

    def __init__(self, endpoint: str, policies: AccessPolicies) -> None:
        self.endpoint = endpoint
        self.policies = policies
        self._eks = cache(self._eks_client)

    def identify(self, token: str) -> Identity:
        """Who the bearer of `token` is; raises `RefusedError`."""
        caller = self._caller(token)
        for cluster in self._clusters(caller.region):
            entry = self._entry(caller, cluster)
            if entry is not None:
                return self._identity(caller, cluster, entry)
        raise RefusedError(f"no access entry lets {caller.arn} into the cluster")

    def _caller(self, token: str) -> Caller:
        url = urlsplit(signed_url(token))
        parameters = {name.lower(): values[0] for name, values in parse_qs(url.query).items()}
        credential = parameters["x-amz-credential"].split("/")
        if len(credential) != 5 or credential[3] != "sts":
            raise RefusedError("the token is not signed for STS")
        if url.netloc != urlsplit(self.endpoint).netloc and not _STS.match(url.hostname or ""):
            raise RefusedError(f"the token's request does not go to STS but to {url.hostname}")
        # The emulated account tells services apart by this header, not by a signed query.
        signed = f"SignedHeaders={parameters['x-amz-signedheaders']}, Signature={parameters['x-amz-signature']}"
        request = urllib.request.Request(  # noqa: S310  # the emulated account, by http
            self.endpoint,
            data=b"Action=GetCallerIdentity&Version=2011-06-15",
            headers={"Authorization": f"AWS4-HMAC-SHA256 Credential={parameters['x-amz-credential']}, {signed}"},
        )
        try:
            with _direct().open(request, timeout=_ANSWER_WITHIN_SECONDS) as answer:
                said = ElementTree.fromstring(answer.read())  # noqa: S314  # the emulated account's own answer
        except (urllib.error.URLError, ElementTree.ParseError) as error:
            raise RefusedError(f"STS does not know the token's signer: {error}") from None
        found = {element.tag.rpartition("}")[2]: element.text or "" for element in said.iter()}
        return Caller(found["Arn"], found["UserId"], credential[2], credential[0])

    def _eks_client(self, region: str) -> Any:
        import boto3

        root = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.session.Session().client("eks", region, endpoint_url=self.endpoint, **root)

    def _clusters(self, region: str) -> list[str]:
        """Clusters whose API server is this one: as a rule one, and none while it is being made."""
        eks = self._eks(region)
        return [
            name
            for name in eks.list_clusters()["clusters"]
            if eks.describe_cluster(name=name)["cluster"].get("endpoint") == self.policies.endpoint
        ]

    def _entry(self, caller: Caller, cluster: str) -> dict[str, Any] | None:
        eks = self._eks(caller.region)
        for arn in _pages(eks.list_access_entries, "accessEntries", clusterName=cluster):
            if _principal(arn) == caller.principal:
                return eks.describe_access_entry(clusterName=cluster, principalArn=arn)["accessEntry"]
        return None

    def _identity(self, caller: Caller, cluster: str, entry: dict[str, Any]) -> Identity:
        associations = _pages(
            self._eks(caller.region).list_associated_access_policies,
            "associatedAccessPolicies",
            clusterName=cluster,
            principalArn=entry["principalArn"],
        )
        groups = [*entry.get("kubernetesGroups", ()), *self.policies.groups(map(Grant.of, associations))]
        session = caller.session.replace("@", "-")
        username = entry["username"].replace("{{SessionName}}", session).replace("{{SessionNameRaw}}", caller.session)
        extra = {
            "arn": [caller.arn],
            "canonicalArn": [entry["principalArn"]],
            "principalId": [caller.user_id],
            "accessKeyId": [caller.access_key_id],
            "sessionName": [caller.session],
        }
        return Identity(username, tuple(groups), f"aws-iam-authenticator:{caller.user_id}", extra)


class TokenReviews:
    """A WSGI application that reviews tokens at `PATH` and leaves the rest to `application`.

    `kubeconfig` is an administrator's of the API server that asks.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], kubeconfig: Path) -> None:
        self._application = application
        self._policies = AccessPolicies(kubeconfig)
        self._authenticator: Authenticator | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH:
            return self._application(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        if self._authenticator is None:
            endpoint = f"http://{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
            self._authenticator = Authenticator(endpoint, self._policies)
        answer = json.dumps(review(body, self._authenticator.identify)).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]


def review(body: bytes, identify: Callable[[str], Identity]) -> dict[str, Any]:
    """The TokenReview with its status, for the TokenReview that the API server sends."""
    status: dict[str, Any]
    try:
        identity = identify(json.loads(body)["spec"]["token"])
        status = {
            "authenticated": True,
            "user": {
                "username": identity.username,
                "uid": identity.uid,
                "groups": list(identity.groups),
                "extra": identity.extra,
            },
        }
    except RefusedError as refused:
        _log.warning("token refused: %s", refused)
        status = {"authenticated": False, "error": str(refused)}
    except Exception as error:  # noqa: BLE001  # whatever it is, nobody gets in, and the log says why
        _log.exception("a token could not be reviewed")
        status = {"authenticated": False, "error": f"the token could not be reviewed: {error}"}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}


def signed_url(token: str, now: datetime | None = None) -> str:
    """The signed request in `token`, checked for form and age; raises `RefusedError`."""
    if not token.startswith(_PREFIX) or len(token) > _LONGEST_BYTES:
        raise RefusedError(f"the token does not begin with {_PREFIX}")
    coded = token.removeprefix(_PREFIX)
    try:
        url = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise RefusedError("the token is not base64") from None
    parameters: dict[str, str] = {}
    for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items():
        if len(values) > 1 or name.lower() in parameters:
            raise RefusedError(f"the token's request says {name} twice")
        parameters[name.lower()] = values[0]
    if parameters.get("action") != "GetCallerIdentity":
        raise RefusedError("the token's request is not GetCallerIdentity")
    for name in ("x-amz-credential", "x-amz-signature", "x-amz-date"):
        if not parameters.get(name):
            raise RefusedError(f"the token's request lacks {name}")
    if _CLUSTER_HEADER not in parameters.get("x-amz-signedheaders", "").split(";"):
        raise RefusedError(f"the token does not name its cluster: {_CLUSTER_HEADER} is no signed header")
    try:
        made = datetime.strptime(parameters["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise RefusedError("the token's x-amz-date is no time") from None
    age = (now or datetime.now(UTC)) - made
    if not -_VALID_FOR <= age <= _VALID_FOR:
        raise RefusedError("the token has expired" if age > _VALID_FOR else "the token is of the future")
    return url


def _principal(arn: str) -> tuple[str, str]:
    """Account and `role/name`, `user/name` or `root`: a role's path is not part of a session's ARN."""
    account, resource = arn.split(":")[4], arn.split(":", 5)[5]
    if resource.startswith("assumed-role/"):
        return account, f"role/{resource.split('/')[1]}"
    kind, _, name = resource.partition("/")
    return account, f"{kind}/{name.rsplit('/', 1)[-1]}" if name else kind


def _pages(operation: Callable[..., dict[str, Any]], key: str, **parameters: Any) -> Iterable[Any]:
    while True:
        answer = operation(**parameters)
        yield from answer[key]
        if not answer.get("nextToken"):
            return
        parameters["nextToken"] = answer["nextToken"]


@cache
def _direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
