"""Fields that know how Customer.io writes things: blank is missing, numbers come as text, moments in any unit.

Each field reads in two ways. `read` is for events: fast, the exact type first. `deserialize`, marshmallow's own way, is
for people who want to know what is wrong; it says the same of every value.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields, missing

# Digits of a number that is taken out of a string: 18 always fit 64 bits; longer ones are no counter of anybody's.
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")

# A string of fewer digits is no epoch: "2020" and "20200101" are dates to whoever wrote them.
_EPOCH_TEXT = re.compile(r"[0-9]{9,20}(\.[0-9]{1,12})?")

# The unit of an epoch, by its size: 1e11 seconds is the year 5138, 1e11 milliseconds is 1973, and so on upwards.
_EPOCH_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000))

_FLAGS = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}


class Value(fields.Field[Any]):
    """Anything at all; blank is missing."""

    default_error_messages = {"required": "missing", "null": "missing"}  # noqa: RUF012 - marshmallow's own declaration

    def read(self, value: Any) -> Any:
        """What `value` means, or marshmallow's `missing` when it is blank. Raises ValidationError on nonsense."""
        if value is None or (type(value) is str and not value.strip()):
            return missing
        return value

    def deserialize(
        self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        is_blank = value is None or (type(value) is str and not value.strip())
        return super().deserialize(missing if is_blank else value, attr, data, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return self.read(value)


class Text(Value):
    """A string; a number is written out, all digits kept."""

    def read(self, value: Any) -> Any:
        if type(value) is str:
            return value if value and not value.isspace() else missing
        if value is None:
            return missing
        return written_out(value)


class Identifier(Value):
    """A string that names somebody or something: without the blanks around it."""

    def read(self, value: Any) -> Any:
        if type(value) is str:
            return value.strip() or missing
        if value is None:
            return missing
        return written_out(value)


class WholeNumber(Value):
    """An integer, also one written as a string."""

    def read(self, value: Any) -> Any:
        if type(value) is int:
            return value
        if type(value) is str:
            digits = value.strip()
            if not digits:
                return missing
            if _WHOLE_NUMBER.fullmatch(digits):
                return int(digits)
        elif value is None:
            return missing
        elif type(value) is float and value.is_integer():
            return int(value)
        raise ValidationError("not a whole number")


class Flag(Value):
    """True or false, also as a word or as 1 and 0."""

    def read(self, value: Any) -> Any:
        if type(value) is bool:
            return value
        if value is None:
            return missing
        if type(value) is str:
            value = value.strip().lower()
            if not value:
                return missing
        if type(value) in (str, int) and value in _FLAGS:
            return _FLAGS[value]
        raise ValidationError("neither true nor false")


class Moment(Value):
    """An aware UTC datetime, from an epoch in any unit, a number in a string, or ISO 8601 (UTC if it names no zone)."""

    def read(self, value: Any) -> Any:
        if type(value) is int or type(value) is float:
            return _from_epoch(value)
        if value is None:
            return missing
        if type(value) is not str:
            raise ValidationError("not a moment")
        text = value.strip()
        if not text:
            return missing
        if _EPOCH_TEXT.fullmatch(text):
            return _from_epoch(float(text) if "." in text else int(text))
        try:
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError("not a moment") from None


class JsonObject(Value):
    """A JSON object, whatever it holds."""

    def read(self, value: Any) -> Any:
        if type(value) is dict:
            return value
        if value is None or (type(value) is str and not value.strip()):
            return missing
        raise ValidationError("not an object")


def written_out(value: Any) -> str:
    """A number as text: 12, not 12.0. Raises ValidationError for everything that is neither string nor number."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is float and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    raise ValidationError("not a string")


def _from_epoch(value: float) -> datetime:
    # Zero is how some programs write "no time"; no event of Customer.io's is older than Customer.io.
    if value > 0:
        for bound, per_second in _EPOCH_UNITS:
            if value < bound:
                return datetime.fromtimestamp(value / per_second, UTC)
    raise ValidationError("not a moment")
