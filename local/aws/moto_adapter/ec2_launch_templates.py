"""Launch templates in moto, which takes their own tags for those of instances, and tells the tags of the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateBackend
from moto.ec2.responses.launch_templates import LaunchTemplates

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(LaunchTemplateBackend.create_launch_template, "self", "name", "template_data", "tag_spec")
    require_parameters(LaunchTemplate.create_version, "self", "data", "description")
    require_parameters(LaunchTemplateBackend.describe_launch_templates, "self")
    require_mentions(LaunchTemplate.__init__, "self.tags = self.get_tags()")
    require_mentions(LaunchTemplates.create_launch_template, '["TagSpecifications"].extend(converted_tag_spec)')


def install() -> None:
    """Keep in a version what was asked for, and nothing else."""
    wrap(LaunchTemplate, "create_version", _as_asked)
    wrap(LaunchTemplateBackend, "describe_launch_templates", _with_present_tags)


def _as_asked(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_version(template: Any, data: dict[str, Any], description: str) -> Any:
        kept = {name: value for name, value in data.items() if value is not None}
        specifications = [it for it in kept.get("TagSpecifications") or () if it["ResourceType"] != "launch-template"]
        kept.pop("TagSpecifications", None)
        if specifications:
            kept["TagSpecifications"] = specifications
        return moto_create(template, kept, description)

    return create_version


def _with_present_tags(moto_describe: Callable[..., Any]) -> Callable[..., Any]:
    def describe_launch_templates(backend: Any, *arguments: Any, **named: Any) -> Any:
        templates = moto_describe(backend, *arguments, **named)
        for template in templates:
            template.tags = template.get_tags()
        return templates

    return describe_launch_templates
