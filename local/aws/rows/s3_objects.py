"""S3: objects that a program puts into a bucket, as `s3.py` takes them in."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from trainyard.local.aws import assets
from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import Fact, Field, Scope, pascal
from trainyard.local.aws.row import Row
from trainyard.local.aws.tags import Tagging, TagsField

_OBJECT: dict[str, Any] = {"Bucket": Fact("bucket"), "Key": Fact("key")}
_CONTENTS = ("source", "content", "contentBase64")
_SETTINGS = {
    **pascal(
        "bucketKeyEnabled",
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contentType",
        "metadata",
        "serverSideEncryption",
        "storageClass",
    ),
    "SSEKMSKeyId": "kmsKeyId",
    "WebsiteRedirectLocation": "websiteRedirect",
}
_NO_LOCK = "object lock is set by the bucket's default retention"
_GONE = ("404", "NoSuchKey", "NotFound", "NoSuchBucket")


def _body(wanted: Mapping[str, Any]) -> bytes:
    if wanted.get("source") is not None:
        return assets.contents(wanted["source"])
    if wanted.get("contentBase64") is not None:
        return base64.b64decode(wanted["contentBase64"])
    return (wanted.get("content") or "").encode()


def _put(context: Context) -> Any:
    wanted = context.wanted
    request = {theirs: wanted[ours] for theirs, ours in _SETTINGS.items() if wanted.get(ours) not in (None, "", {})}
    tags = wanted.get("tagsAll")
    if tags:
        request["Tagging"] = urlencode(sorted(tags.items()))
    return context.call("put_object", Bucket=wanted["bucket"], Key=wanted["key"], Body=_body(wanted), **request)


def _etag(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    """S3 answers with quotes around it, and names the storage class only where it is another."""
    del context
    return {
        "etag": str(observed.get("_etag") or "").strip('"'),
        "storageClass": observed.get("_storageClass") or "STANDARD",
        "bucketKeyEnabled": bool(observed.get("_bucketKeyEnabled")),
    }


def _delete(context: Context) -> None:
    """The object; with forceDestroy all versions of it, whatever holds them."""
    address = {"Bucket": context.facts["bucket"], "Key": context.facts["key"]}
    versions = context.call("list_object_versions", Bucket=address["Bucket"], Prefix=address["Key"])
    found = [
        entry["VersionId"]
        for entry in (*versions.get("Versions", ()), *versions.get("DeleteMarkers", ()))
        if entry["Key"] == address["Key"] and entry["VersionId"] != "null"
    ]
    for version in found:
        bypass = {"BypassGovernanceRetention": True} if context.wanted.get("forceDestroy") else {}
        context.call("delete_object", **address, VersionId=version, **bypass)
    if not found:
        context.call("delete_object", **address)


class _TagSet(TagsField):
    def write(self, scope: Scope) -> Any:
        return self._shaped(scope.values.get(self.name) or {})


_PAIRS = TagsField(key="Key", value="Value")
_TAGS = Tagging(
    reads=(Read("get_object_tagging", _OBJECT, {"TagSet": _PAIRS}, gone=_GONE),),
    calls=(Call("put_object_tagging", {**_OBJECT, "Tagging": {"TagSet": _TagSet(key="Key", value="Value")}}),),
)


def _told() -> dict[str, Field | str]:
    told: dict[str, Field | str] = {**_SETTINGS, "VersionId": "versionId", "ETag": "_etag"}
    return {**told, "StorageClass": "_storageClass", "BucketKeyEnabled": "_bucketKeyEnabled"}


ROWS = (
    Row(
        "aws:s3/bucketObjectv2:BucketObjectv2",
        service="s3",
        id="{bucket}/{key}",
        create=Do(_put),
        update=(Do(_put, on=(*_CONTENTS, "sourceHash", *_SETTINGS.values())),),
        read=(
            Read("head_object", _OBJECT, _told(), gone=_GONE),
            Derive(_etag, ("bucketKeyEnabled", "etag", "storageClass")),
            Derive(lambda context, _: {name: context.facts[name] for name in ("bucket", "key")}, ("bucket", "key")),
        ),
        delete=(Do(_delete),),
        tags=_TAGS,
        defaults={"forceDestroy": False},
        local=(*_CONTENTS, "forceDestroy", "sourceHash"),
        computed=("bucketKeyEnabled", "contentType", "etag", "kmsKeyId", "serverSideEncryption", "storageClass"),
        replace_on=("bucket", "key"),
        conflicts=(_CONTENTS,),
        constraints=(lambda inputs: () if inputs.get("key") else [("key", "is missing")],),
        outputs={"arn": "arn:{partition}:s3:::{bucket}/{key}"},
        not_emulated={
            "acl": "access control lists are not emulated",
            **dict.fromkeys(("objectLockLegalHoldStatus", "objectLockMode", "objectLockRetainUntilDate"), _NO_LOCK),
            "overrideProvider": "default tags of one object are not emulated",
            "checksumAlgorithm": "S3's own checksums are not emulated",
            **dict.fromkeys(
                ("checksumCrc32", "checksumCrc32c", "checksumCrc64nvme", "checksumSha1", "checksumSha256"),
                "S3's own checksums are not emulated",
            ),
        },
    ),
)
