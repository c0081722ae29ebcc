"""The AWS regions, as one table.

Source: botocore 1.44.5, data/endpoints.json, partitions aws, aws-cn, aws-us-gov and aws-eusc (read 2026-11). The
isolated partitions are left out. Countries are ISO 3166-1 codes, from the places' names.

Where FSx for Lustre makes PERSISTENT_2, which modules/lustre.py asks for: FSx for Lustre user guide, "Deployment and
storage class options", table "Deployment type availability" (a copy without a date, read 2026-11). It names neither
the newest regions nor those of China and of the European Sovereign Cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

LustreOffer: TypeAlias = Literal["full", "limited", "absent", "unlisted"]
"""`full`: every throughput, and EFA. `limited`: 125 and 250 MB/s for each TiB, no EFA. `absent`: AWS's table has the
region without PERSISTENT_2. `unlisted`: the table does not have the region."""


@dataclass(frozen=True)
class Region:
    """Where a region stands.

    Attributes:
        place: as AWS calls it.
        country: ISO 3166-1 code of the country whose law applies first.
        lustre: what FSx for Lustre offers there of PERSISTENT_2.
    """

    place: str
    country: str
    lustre: LustreOffer


REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        "af-south-1": Region("Africa (Cape Town)", "ZA", "absent"),
        "ap-east-1": Region("Asia Pacific (Hong Kong)", "HK", "full"),
        "ap-east-2": Region("Asia Pacific (Taipei)", "TW", "limited"),
        "ap-northeast-1": Region("Asia Pacific (Tokyo)", "JP", "full"),
        "ap-northeast-2": Region("Asia Pacific (Seoul)", "KR", "full"),
        "ap-northeast-3": Region("Asia Pacific (Osaka)", "JP", "absent"),
        "ap-south-1": Region("Asia Pacific (Mumbai)", "IN", "full"),
        "ap-south-2": Region("Asia Pacific (Hyderabad)", "IN", "absent"),
        "ap-southeast-1": Region("Asia Pacific (Singapore)", "SG", "full"),
        "ap-southeast-2": Region("Asia Pacific (Sydney)", "AU", "full"),
        "ap-southeast-3": Region("Asia Pacific (Jakarta)", "ID", "absent"),
        "ap-southeast-4": Region("Asia Pacific (Melbourne)", "AU", "absent"),
        "ap-southeast-5": Region("Asia Pacific (Malaysia)", "MY", "limited"),
        "ap-southeast-6": Region("Asia Pacific (New Zealand)", "NZ", "unlisted"),
        "ap-southeast-7": Region("Asia Pacific (Thailand)", "TH", "limited"),
        "ca-central-1": Region("Canada (Central)", "CA", "full"),
        "ca-west-1": Region("Canada West (Calgary)", "CA", "limited"),
        "eu-central-1": Region("Europe (Frankfurt)", "DE", "full"),
        "eu-central-2": Region("Europe (Zurich)", "CH", "absent"),
        "eu-north-1": Region("Europe (Stockholm)", "SE", "full"),
        "eu-south-1": Region("Europe (Milan)", "IT", "absent"),
        "eu-south-2": Region("Europe (Spain)", "ES", "absent"),
        "eu-west-1": Region("Europe (Ireland)", "IE", "full"),
        "eu-west-2": Region("Europe (London)", "GB", "full"),
        "eu-west-3": Region("Europe (Paris)", "FR", "absent"),
        "il-central-1": Region("Israel (Tel Aviv)", "IL", "limited"),
        "me-central-1": Region("Middle East (UAE)", "AE", "absent"),
        "me-south-1": Region("Middle East (Bahrain)", "BH", "absent"),
        "mx-central-1": Region("Mexico (Central)", "MX", "limited"),
        "sa-east-1": Region("South America (Sao Paulo)", "BR", "absent"),
        "us-east-1": Region("US East (N. Virginia)", "US", "full"),
        "us-east-2": Region("US East (Ohio)", "US", "full"),
        "us-west-1": Region("US West (N. California)", "US", "full"),
        "us-west-2": Region("US West (Oregon)", "US", "full"),
        "cn-north-1": Region("China (Beijing)", "CN", "unlisted"),
        "cn-northwest-1": Region("China (Ningxia)", "CN", "unlisted"),
        "us-gov-east-1": Region("AWS GovCloud (US-East)", "US", "absent"),
        "us-gov-west-1": Region("AWS GovCloud (US-West)", "US", "absent"),
        "eusc-de-east-1": Region("AWS European Sovereign Cloud (Germany)", "DE", "unlisted"),
    }
)
