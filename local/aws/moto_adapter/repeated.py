"""What moto works out at each request, or for each service, and what stays the same as long as it runs: kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from moto import backends
from moto.core import responses, utils
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from trainyard.local.aws.moto_adapter.expectations import require_mentions, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(DomainDispatcherApplication.get_backend_for_host, "in backends.list_of_moto_modules()")
    require_mentions(responses.BaseResponse.call_action, "method_names = method_names_from_class(self.__class__)")
    require_mentions(utils._load_service_model, "create_loader()", "loader.load_service_model")


def install() -> None:
    """Ask once: a folder of 180 services, the methods of a class, a thousand folders of models."""
    wrap(backends, "list_of_moto_modules", _as_set)
    wrap(responses, "method_names_from_class", cache)
    wrap(utils, "create_loader", cache)


def _as_set(moto_lists: Callable[[], Iterable[str]]) -> Callable[[], Iterable[str]]:
    @cache
    def list_of_moto_modules() -> frozenset[str]:
        return frozenset(moto_lists())

    return list_of_moto_modules
