"""SNS in moto: attributes of topics that it does not tell, and subscriptions that somebody has to confirm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.utils import camelcase_to_underscores
from moto.sns.models import SNSBackend
from moto.sns.responses import SNSResponse

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap

_TOLD = ("SignatureVersion", "TracingConfig")
_CONFIRMED_BY_PEOPLE = ("email", "email-json")


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(SNSResponse.get_topic_attributes, '{"Attributes": attributes}', "self.backend.get_topic")
    require_mentions(SNSBackend.set_topic_attribute, "setattr(topic, attribute_name, attribute_value)")
    require_mentions(SNSBackend.create_topic, "camelcase_to_underscores(attribute)")
    require_parameters(SNSBackend.subscribe, "self", "topic_arn", "endpoint", "protocol")
    require_mentions(SNSBackend.subscribe, '"PendingConfirmation"')


def install() -> None:
    """Tell all attributes; leave subscriptions by mail pending."""
    wrap(SNSResponse, "get_topic_attributes", _telling_all)
    wrap(SNSBackend, "subscribe", _awaiting_confirmation)


def _telling_all(moto_get: Callable[..., Any]) -> Callable[..., Any]:
    def get_topic_attributes(response: Any) -> Any:
        answer = moto_get(response)
        topic = response.backend.get_topic(response._get_param("TopicArn"))
        for name in _TOLD:
            value = getattr(topic, camelcase_to_underscores(name), None)
            if value:
                answer.result["Attributes"][name] = value
        return answer

    return get_topic_attributes


def _awaiting_confirmation(moto_subscribe: Callable[..., Any]) -> Callable[..., Any]:
    def subscribe(backend: Any, topic_arn: str, endpoint: str, protocol: str) -> Any:
        subscription = moto_subscribe(backend, topic_arn, endpoint, protocol)
        if protocol in _CONFIRMED_BY_PEOPLE:
            subscription.attributes["PendingConfirmation"] = "true"
            subscription.confirmed = False
        return subscription

    return subscribe
