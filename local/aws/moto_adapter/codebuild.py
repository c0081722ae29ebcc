"""CodeBuild in moto: projects with all of their settings, which can be changed."""

from __future__ import annotations

import json
from typing import Any

from moto.codebuild.exceptions import InvalidInputException, ResourceNotFoundException
from moto.codebuild.models import CodeBuild
from moto.codebuild.responses import CodeBuildResponse
from moto.core.responses import ActionResult

from trainyard.local.aws.moto_adapter.expectations import add, require_mentions, require_parameters, wrap

_DEFAULTS: dict[str, Any] = {
    "timeoutInMinutes": 60,
    "queuedTimeoutInMinutes": 480,
    "cache": {"type": "NO_CACHE"},
}


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(CodeBuildResponse.create_project, '"project": project_metadata', "self.codebuild_backend")
    require_parameters(CodeBuild.__init__, "self", "project_source", "artifacts", "environment", "serviceRole")
    require_mentions(CodeBuild.__init__, "self.project_metadata", '"encryptionKey"', "self.arn")


def install() -> None:
    """Keep everything that a request says; add UpdateProject."""
    wrap(CodeBuildResponse, "create_project", lambda _: _create_project)
    add(CodeBuildResponse, "update_project", _update_project)


def _create_project(response: Any) -> Any:
    request = json.loads(response.body)
    backend, name = response.codebuild_backend, request["name"]
    if name in backend.codebuild_projects:
        raise InvalidInputException(f"Project already exists: {backend.codebuild_projects[name].arn}")
    _require_valid(request)
    project: Any = CodeBuild(
        response.current_account,
        response.region,
        name,
        request.get("description"),
        request["source"],
        request["artifacts"],
        request["environment"],
        request["serviceRole"],
    )
    _put(project.project_metadata, {**_DEFAULTS, **request})
    backend.codebuild_projects[name] = project
    backend.build_history[name] = []
    return ActionResult({"project": project.project_metadata})


def _update_project(response: Any) -> Any:
    request = json.loads(response.body)
    project = response.codebuild_backend.codebuild_projects.get(request["name"])
    if project is None:
        raise ResourceNotFoundException(f"The provided project {request['name']} does not exist")
    merged = {**project.project_metadata, **request}
    _require_valid(merged)
    _put(project.project_metadata, request)
    project.service_role = project.project_metadata["serviceRole"]
    return ActionResult({"project": project.project_metadata})


def _put(metadata: dict[str, Any], request: dict[str, Any]) -> None:
    """As CodeBuild keeps it: an empty string or structure takes a setting away, and -1 a limit."""
    badge = request.pop("badgeEnabled", None)
    if badge is not None:
        metadata["badge"] = {"badgeEnabled": badge}
    for name, value in request.items():
        if value in ("", -1) or (name == "vpcConfig" and not value.get("vpcId")):
            metadata.pop(name, None)
        else:
            metadata[name] = value


def _require_valid(project: dict[str, Any]) -> None:
    source, artifacts = project["source"], project["artifacts"]
    if source["type"] not in ("NO_SOURCE", "CODEPIPELINE") and not source.get("location"):
        raise InvalidInputException("Project source location is required")
    if source["type"] == "NO_SOURCE" and not source.get("buildspec"):
        raise InvalidInputException("A buildspec is required where there is no source")
    if artifacts["type"] == "S3" and not artifacts.get("location"):
        raise InvalidInputException("Invalid artifacts: location is required")
    if artifacts["type"] == "NO_ARTIFACTS" and artifacts.get("location"):
        raise InvalidInputException("Invalid artifacts: NO_ARTIFACTS should have no location")
