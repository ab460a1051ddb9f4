"""Records of a store: small JSON files with typed fields, read as if a stranger had written them.

A record is a data class with `__pydantic_config__ = STRICT`: no field is missing, unknown, or of
another type; "5" is not taken for 5.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from repro.errors import IntegrityError
from repro.files import File, decoded, read_bytes, reason_of

STRICT = ConfigDict(extra="forbid", strict=True)

T = TypeVar("T")

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _number(value: object) -> object:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError("not a time in UTC")
    return text


Number = Annotated[float, BeforeValidator(_number)]  # JSON has no NaN: it is written as text
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # seconds, epochs
Moment = Annotated[str, AfterValidator(_moment)]  # ISO 8601, UTC


def finite(value: Any, word: Callable[[float], object]) -> Any:
    """The value, with a word for each float in it that is NaN or infinite."""
    if isinstance(value, dict):
        return {key: finite(each, word) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each, word) for each in value]
    return word(value) if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_file(path: File, read: Callable[[File], bytes] = read_bytes) -> str:
    """Text of a store's file; IntegrityError where it cannot be read safely."""
    try:
        return decoded(read(path))
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"cannot read {path}: {reason_of(error)}", hint="is the store folder complete?"
        ) from error


def read_record(kind: type[T], path: File, what: str, *, hint: str = "") -> T:
    """A record from its file; IntegrityError names the file and every field that is wrong."""
    text = read_file(path)
    try:
        record: T = _adapter(kind).validate_json(text)  # type: ignore[arg-type] # it is hashable
    except ValidationError as error:
        wrong = {".".join(map(str, e["loc"])): e["msg"] for e in error.errors(include_url=False)}
        fields = "; ".join(f"{field}: {why}" if field else why for field, why in wrong.items())
        raise IntegrityError(f"{path}: not {what}: {fields}", hint=hint) from error
    return record
