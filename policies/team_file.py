"""A YAML file that a team writes about the policies: read strictly, so that nothing in it is passed over in silence,
and with faults told in the words of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainyard.policies import yaml_document

_MOST_FAULTS = 10
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no key that may stand here",
    "model_type": "must have keys, as in `key: value`",
    "string_type": "must be a text; in quotes, if YAML reads something else",
    "list_type": "must be a list",
    "string_too_short": "must have at least {min_length} characters",
    "date_type": "must be a day, such as 2027-01-31",
    "date_from_datetime_parsing": "must be a day, such as 2027-01-31",
    "date_from_datetime_inexact": "must be a day, such as 2027-01-31",
}


def is_there(file: Path) -> bool:
    """Whether something of that name is there: also a folder, or a link that leads nowhere, which `read` refuses."""
    return file.exists() or file.is_symlink()


def read(file: Path) -> Any:
    """The document in the file; None where it is empty. Raises ValueError saying what is wrong, and in which file."""
    try:
        return yaml_document.load(file.read_text(encoding="utf-8-sig"))
    except OSError as failed:
        raise ValueError(f"{file} cannot be read: {failed.strerror}") from None
    except UnicodeDecodeError as wrong:
        raise ValueError(f"{file} is not in UTF-8 (byte {wrong.start}); save it so") from None
    except yaml_document.UnreadableError as wrong:
        raise ValueError(f"{file}: {' '.join(str(wrong).split())}") from None


def faults(wrong: ValidationError) -> str:
    """`levels[0].owner: is missing; levels[0].name: is no key that may stand here`."""
    errors = wrong.errors(include_url=False, include_input=False)
    said = [f"{_place(one['loc'])}: {_fault(one)}" if one["loc"] else _fault(one) for one in errors[:_MOST_FAULTS]]
    return "; ".join([*said, f"and {len(errors) - _MOST_FAULTS} more"] if len(errors) > _MOST_FAULTS else said)


def _fault(error: Any) -> str:
    words = _WORDS.get(error["type"], error["msg"].removeprefix("Value error, "))
    return words.format(**error.get("ctx", {})) if error["type"] in _WORDS else words


def _place(steps: tuple[str | int, ...]) -> str:
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps).lstrip(".")
