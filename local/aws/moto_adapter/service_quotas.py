"""Service quotas that moto lacks: those a GPU platform meets, at the values a new account has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from moto.servicequotas.models import ServiceQuotasBackend

from trainyard.local.aws.moto_adapter.expectations import require_parameters, wrap

NEW_ACCOUNT: Mapping[tuple[str, str], tuple[str, float]] = MappingProxyType(
    {
        ("ec2", "L-417A185B"): ("Running On-Demand P instances", 0),
        ("ec2", "L-DB2E81BA"): ("Running On-Demand G and VT instances", 0),
        ("ec2", "L-1216C47A"): ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 5),
        ("ec2", "L-7212CCBC"): ("All P4, P3 and P2 Spot Instance Requests", 0),
        ("ec2", "L-C4BD4855"): ("All P5 Spot Instance Requests", 0),
        ("ec2", "L-3819A6DF"): ("All G and VT Spot Instance Requests", 0),
        ("ec2", "L-34B43A08"): ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 5),
        ("ec2", "L-0263D0A3"): ("EC2-VPC Elastic IPs", 5),
        ("vpc", "L-F678F1CE"): ("VPCs per Region", 5),
        ("vpc", "L-DF5E4CA3"): ("Network interfaces per Region", 5000),
        ("eks", "L-1194D53C"): ("Clusters", 100),
        ("fsx", "L-8F1B9C74"): ("Lustre Persistent_2 storage capacity (GiB)", 100_800),
    }
)
"""Codes of P5 spot, FSx and VPC, and the defaults of FSx and VPC: public tables of Service Quotas (secondary, looked up
2026-11). The other defaults from memory of the user guides, unverified; accounts differ."""


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(ServiceQuotasBackend.get_service_quota, "self", "service_code", "quota_code")
    require_parameters(ServiceQuotasBackend.list_aws_default_service_quotas, "self", "service_code")


def install() -> None:
    """Answer for these quotas too."""
    wrap(ServiceQuotasBackend, "get_service_quota", _get)
    wrap(ServiceQuotasBackend, "list_aws_default_service_quotas", _list)


def _get(moto_get: Callable[..., Any]) -> Callable[..., Any]:
    def get_service_quota(backend: Any, service_code: str, quota_code: str) -> Any:
        if (service_code, quota_code) in NEW_ACCOUNT:
            return _described(backend, service_code, quota_code)
        return moto_get(backend, service_code, quota_code)

    return get_service_quota


def _list(moto_list: Callable[..., Any]) -> Callable[..., Any]:
    def list_aws_default_service_quotas(backend: Any, service_code: str) -> Any:
        found = [_described(backend, service, code) for service, code in NEW_ACCOUNT if service == service_code]
        return found or moto_list(backend, service_code)

    return list_aws_default_service_quotas


def _described(backend: Any, service: str, code: str) -> dict[str, Any]:
    name, value = NEW_ACCOUNT[service, code]
    arn = f"arn:{backend.partition}:servicequotas:{backend.region_name}:{backend.account_id}:{service}/{code}"
    return {
        "ServiceCode": service,
        "QuotaCode": code,
        "QuotaArn": arn,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
