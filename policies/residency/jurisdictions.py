"""The table of jurisdictions: which law binds an environment's data, and what has been documented to leave."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from trainyard.policies import yaml_document
from trainyard.policies.aws import DATA_CLASSES

FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader; where libyaml is there, its own, which takes a tenth of the time of each start."""

DataClass: TypeAlias = Literal["public", "internal", "personal", "health", "financial", "government"]
Code: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Region: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}(-[a-z]+){1,2}-\d{1,2}$")]
Account: TypeAlias = Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Law(_Row):
    """A law, as it is cited, and the classes that it binds."""

    name: Text
    articles: tuple[Text, ...] = Field(strict=False)
    classes: tuple[DataClass, ...] = Field(strict=False, min_length=1)


class ClassRule(_Row):
    """Whether data of a class may leave, and on which bases."""

    leaves: Literal["freely", "recorded", "never"]
    bases: tuple[Text, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _bases_fit(self) -> ClassRule:
        if bool(self.bases) != (self.leaves == "recorded"):
            raise ValueError("bases belong to `leaves: recorded`, which needs one at least")
        return self


class Jurisdiction(_Row):
    """One body of law and the AWS regions where it binds."""

    name: Text
    countries: tuple[Code, ...] = Field(strict=False, min_length=1)
    regions: tuple[Region, ...] = Field(strict=False)
    laws: tuple[Law, ...] = Field(strict=False)
    adequate: tuple[Code, ...] = Field(strict=False)
    barred: tuple[Code, ...] = Field(strict=False)
    classes: dict[DataClass, ClassRule]

    @model_validator(mode="after")
    def _every_class(self) -> Jurisdiction:
        if missing := set(DATA_CLASSES) - set(self.classes):
            raise ValueError(f"classes lacks {', '.join(sorted(missing))}")
        return self

    def cite(self, data_class: str) -> str:
        """The laws that bind a class, for a message; empty where none is listed."""
        laws = (law for law in self.laws if data_class in law.classes)
        return "; ".join(f"{law.name}, {', '.join(law.articles)}" if law.articles else law.name for law in laws)


class Environment(_Row):
    jurisdiction: Code
    region_guard: Text | None = None


class Transfer(_Row):
    """A documented transfer: what may go where, on which basis, who answers for it and where that is written."""

    environment: Text
    origin: Code = Field(alias="from")
    destination: Code = Field(alias="to")
    classes: tuple[DataClass, ...] = Field(strict=False, min_length=1)
    basis: Text
    owner: Text
    reference: Text


class JurisdictionTable(_Row):
    """The whole table. Building it checks that its parts fit together."""

    reviewed: date
    environments: dict[str, Environment]
    transfers: tuple[Transfer, ...] = Field(strict=False)
    accounts: dict[Account, Code]
    hosts: dict[str, Code]
    bases: dict[str, Text]
    jurisdictions: dict[Code, Jurisdiction]

    @model_validator(mode="after")
    def _consistent(self) -> JurisdictionTable:
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        return self

    def home(self, environment: str) -> tuple[str, Jurisdiction] | None:
        """The jurisdiction that binds an environment's data; None where nobody wrote it down."""
        row = self.environments.get(environment)
        return (row.jurisdiction, self.jurisdictions[row.jurisdiction]) if row else None

    def of_region(self, region: str) -> str | None:
        """The code of the jurisdiction that a region lies in; None where none lists it."""
        return next((code for code, one in self.jurisdictions.items() if region in one.regions), None)

    def free(self, environment: str, data_class: str) -> bool:
        """Whether data of a class may go anywhere from an environment."""
        home = self.home(environment)
        rule = home[1].classes.get(data_class) if home else None
        return rule is not None and rule.leaves == "freely"

    def refusal(self, environment: str, data_class: str, destination: str) -> str | None:
        """Why data of a class may not go from an environment to a jurisdiction; None where they may."""
        home = self.home(environment)
        if home is None:
            return f"environment {environment!r} has no row in policies/jurisdictions.yaml, so no law is known for it"
        code, law = home
        if destination == code or self.free(environment, data_class):
            return None
        cited = law.cite(data_class)
        under = f" ({cited})" if cited else ""
        rule = next(rule for name, rule in law.classes.items() if name == data_class)
        there = self.jurisdictions[destination].name if destination in self.jurisdictions else destination
        if rule.leaves == "never":
            return f"{data_class} data of {law.name} never leave it{under}"
        if destination in law.barred:
            return f"no {data_class} data of {law.name} may go to {there} on any basis{under}"
        if any(self._covers(one, environment, data_class, code, destination) for one in self.transfers):
            return None
        return (
            f"{data_class} data of {law.name} go to {there} on a documented basis only{under}: "
            f"{_or(rule.bases)}. "
            "`transfers` in policies/jurisdictions.yaml records none"
        )

    @staticmethod
    def _covers(transfer: Transfer, environment: str, data_class: str, origin: str, destination: str) -> bool:
        asked = (environment, origin, destination)
        return (transfer.environment, transfer.origin, transfer.destination) == asked and data_class in transfer.classes

    def _problems(self) -> Iterator[str]:
        named = [(f"environments.{name}.jurisdiction", row.jurisdiction) for name, row in self.environments.items()]
        named += [(f"accounts.{name}", code) for name, code in self.accounts.items()]
        named += [(f"hosts.{name}", code) for name, code in self.hosts.items()]
        for code, one in self.jurisdictions.items():
            named += [(f"jurisdictions.{code}", other) for other in (*one.adequate, *one.barred)]
            for name, rule in one.classes.items():
                if unknown := set(rule.bases) - set(self.bases):
                    yield f"jurisdictions.{code}.classes.{name}: {_or(sorted(unknown))} is not listed under bases"
        for place, code in named:
            if code not in self.jurisdictions:
                yield f"{place}: {code} is not listed under jurisdictions"
        regions = [region for one in self.jurisdictions.values() for region in one.regions]
        for region in sorted({region for region in regions if regions.count(region) > 1}):
            yield f"{region} lies in two jurisdictions"
        for index, transfer in enumerate(self.transfers):
            if problem := self._problem_of(transfer):
                yield f"transfers[{index}]: {problem}"

    def _problem_of(self, transfer: Transfer) -> str | None:
        row = self.environments.get(transfer.environment)
        if row is None or row.jurisdiction != transfer.origin:
            return f"environment {transfer.environment!r} is not bound by {transfer.origin}"
        if transfer.destination not in self.jurisdictions or transfer.destination == transfer.origin:
            return f"{transfer.destination} is no other jurisdiction of this table"
        home = self.jurisdictions[transfer.origin]
        if transfer.destination in home.barred:
            return f"{transfer.origin} bars {transfer.destination} on any basis"
        if transfer.basis == "adequacy" and transfer.destination not in home.adequate:
            return f"{transfer.origin} has not found {transfer.destination} adequate"
        for name in transfer.classes:
            if transfer.basis not in home.classes[name].bases:
                allowed = _or(home.classes[name].bases) or "nothing"
                return f"{transfer.basis!r} is no basis for {name} data of {transfer.origin}; there may stand {allowed}"
        return None


def load_jurisdictions(path: Path) -> JurisdictionTable:
    """Reads the table. Raises ValueError saying what is wrong with it: a broken table must stop, not allow."""
    try:
        return JurisdictionTable.model_validate(yaml_document.load(path.read_text(encoding="utf-8"), FAST_LOADER))
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        message = re.sub(r"^Value error, ", "", first["msg"])
        raise ValueError(f"{path}: {place}: {message}" if place else f"{path}: {message}") from None
    except (yaml_document.UnreadableError, UnicodeDecodeError) as broken:
        raise ValueError(f"{path}: this is not YAML: {broken}") from None


@cache
def jurisdictions() -> JurisdictionTable:
    return load_jurisdictions(Path(__file__).parents[1] / "jurisdictions.yaml")


def _or(names: tuple[str, ...] | list[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)
