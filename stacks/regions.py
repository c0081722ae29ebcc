"""The AWS regions, as one table.

Source: botocore 1.44.5, data/endpoints.json, partitions aws, aws-cn, aws-us-gov and aws-eusc (read 2026-11). The
isolated partitions are left out. Countries are ISO 3166-1 codes, from the places' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Region:
    """Where a region stands.

    Attributes:
        place: as AWS calls it.
        country: ISO 3166-1 code of the country whose law applies first.
    """

    place: str
    country: str


REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        "af-south-1": Region("Africa (Cape Town)", "ZA"),
        "ap-east-1": Region("Asia Pacific (Hong Kong)", "HK"),
        "ap-east-2": Region("Asia Pacific (Taipei)", "TW"),
        "ap-northeast-1": Region("Asia Pacific (Tokyo)", "JP"),
        "ap-northeast-2": Region("Asia Pacific (Seoul)", "KR"),
        "ap-northeast-3": Region("Asia Pacific (Osaka)", "JP"),
        "ap-south-1": Region("Asia Pacific (Mumbai)", "IN"),
        "ap-south-2": Region("Asia Pacific (Hyderabad)", "IN"),
        "ap-southeast-1": Region("Asia Pacific (Singapore)", "SG"),
        "ap-southeast-2": Region("Asia Pacific (Sydney)", "AU"),
        "ap-southeast-3": Region("Asia Pacific (Jakarta)", "ID"),
        "ap-southeast-4": Region("Asia Pacific (Melbourne)", "AU"),
        "ap-southeast-5": Region("Asia Pacific (Malaysia)", "MY"),
        "ap-southeast-6": Region("Asia Pacific (New Zealand)", "NZ"),
        "ap-southeast-7": Region("Asia Pacific (Thailand)", "TH"),
        "ca-central-1": Region("Canada (Central)", "CA"),
        "ca-west-1": Region("Canada West (Calgary)", "CA"),
        "eu-central-1": Region("Europe (Frankfurt)", "DE"),
        "eu-central-2": Region("Europe (Zurich)", "CH"),
        "eu-north-1": Region("Europe (Stockholm)", "SE"),
        "eu-south-1": Region("Europe (Milan)", "IT"),
        "eu-south-2": Region("Europe (Spain)", "ES"),
        "eu-west-1": Region("Europe (Ireland)", "IE"),
        "eu-west-2": Region("Europe (London)", "GB"),
        "eu-west-3": Region("Europe (Paris)", "FR"),
        "il-central-1": Region("Israel (Tel Aviv)", "IL"),
        "me-central-1": Region("Middle East (UAE)", "AE"),
        "me-south-1": Region("Middle East (Bahrain)", "BH"),
        "mx-central-1": Region("Mexico (Central)", "MX"),
        "sa-east-1": Region("South America (Sao Paulo)", "BR"),
        "us-east-1": Region("US East (N. Virginia)", "US"),
        "us-east-2": Region("US East (Ohio)", "US"),
        "us-west-1": Region("US West (N. California)", "US"),
        "us-west-2": Region("US West (Oregon)", "US"),
        "cn-north-1": Region("China (Beijing)", "CN"),
        "cn-northwest-1": Region("China (Ningxia)", "CN"),
        "us-gov-east-1": Region("AWS GovCloud (US-East)", "US"),
        "us-gov-west-1": Region("AWS GovCloud (US-West)", "US"),
        "eusc-de-east-1": Region("AWS European Sovereign Cloud (Germany)", "DE"),
    }
)
