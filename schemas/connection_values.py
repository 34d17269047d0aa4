"""How single values of connector.yaml are read, and the words that say what was expected where one is wrong.

No message repeats the value: it may be a secret.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, ClassVar
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

_NAME = re.compile(r"[^\W_][\w .-]{0,62}(?<! )")  # stands in delivery ids and file names
_EVENT_PATTERN = re.compile(r"!?[\w*?-]+")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_DURATION_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", re.IGNORECASE)


def suggestion(word: str, known: list[str]) -> str:
    """`; did you mean x?`, or nothing."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


MESSAGES: dict[str, str | list[Any] | dict[Any, Any]] = {
    "required": "is missing",
    "null": "expected a value; leave the line out for the default",
}


class Setting(fields.Field[Any]):
    """The root of all values here, for the wording of what marshmallow itself finds."""

    default_error_messages = MESSAGES


class Text(Setting):
    """Text as it stands; numbers are refused, since YAML has already changed what was written (007, 1e5)."""

    expected = "text"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, bool | int | float):
            raise ValidationError(f"expected {self.expected}: put it in quotes")
        if not isinstance(value, str) or not value.strip():
            raise ValidationError(f"expected {self.expected}")
        return value.strip()


class Name(Text):
    expected = "a name"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = super()._deserialize(value, attr, data, **kwargs)
        if not _NAME.fullmatch(name):
            raise ValidationError("expected a name of letters, digits, blanks and . _ - (at most 63, a letter first)")
        return name


class Choice(Text):
    def __init__(self, choices: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = choices

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        # YAML 1.1 habits: a bare `off` may have been read as false.
        word = "off" if value is False else value
        if not isinstance(word, str) or word.strip() not in self.choices:
            hint = suggestion(word, list(self.choices)) if isinstance(word, str) else ""
            raise ValidationError(f"expected one of {', '.join(self.choices)}{hint}")
        return word.strip()


class YesNo(Setting):
    """true or false; also the words, since a ${NAME} can only yield text."""

    words: ClassVar[Mapping[str, bool]] = {
        "true": True, "yes": True, "on": True, "false": False, "no": False, "off": False
    }  # fmt: skip

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in self.words:
            raise ValidationError("expected true or false")
        return self.words[word]


class Number(Setting):
    """A number within bounds; digits in text count, since a ${NAME} can only yield text."""

    expected = "a number"

    def __init__(self, low: float, high: float, is_above: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high, self.is_above = low, high, is_above

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        number = self.read(value)
        if number is None or not self.low <= number <= self.high or (self.is_above and number == self.low):
            least = f"above {self.low:g}" if self.is_above else f"from {self.low:g}"
            raise ValidationError(f"expected {self.expected} {least} to {self.high:.12g}")
        return number

    def read(self, value: Any) -> float | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.\d{1,9})?", value.strip(), re.ASCII):
            return float(value)
        return None


class WholeNumber(Number):
    expected = "a whole number"

    def read(self, value: Any) -> float | None:
        number = super().read(value)
        return None if number is None or number != number // 1 else int(number)


class Seconds(Number):
    """A number of seconds, or a duration with a unit."""

    expected = "seconds, or a duration such as 500ms or 5m,"

    def read(self, value: Any) -> float | None:
        if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
            return float(match[1]) * _DURATION_SECONDS[match[2]]
        return super().read(value)


class Size(WholeNumber):
    """A number of bytes, or a size with a unit."""

    expected = "bytes, or a size such as 450KB,"

    def read(self, value: Any) -> float | None:
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            base = 1024 if match[3] else 1000
            return int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))
        return super().read(value)


class Keep(Setting):
    """How long something is kept, in seconds; None is for ever."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float | None:
        if value == "forever":
            return None
        match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None or float(match[1]) == 0:
            raise ValidationError("expected forever, or a duration such as 12h, 30d or 8w")
        return float(match[1]) * _DURATION_SECONDS[match[2]]


class Start(Setting):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str | datetime:
        if value in ("now", "beginning"):
            return str(value)
        try:
            moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
        except ValueError:
            moment = None
        if moment is None:
            raise ValidationError("expected now, beginning, or a moment such as 2026-08-31T18:30:00Z")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Url(Text):
    expected = "an address that starts with https:// or http://"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, attr, data, **kwargs)
        try:
            parts = urlsplit(url)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, an open bracket
            is_good = False
        if not is_good or not url.isprintable() or " " in url:
            raise ValidationError(f"expected {self.expected}")
        if parts.username is not None or parts.password is not None:
            raise ValidationError("expected an address without user name and password: use the type's own settings")
        if parts.fragment:
            raise ValidationError("expected an address without #")
        return url


class EventPattern(Text):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not _EVENT_PATTERN.fullmatch(value.strip()):
            raise ValidationError("expected a pattern such as email_*, sms_sent or !*_drafted (only * and ? are wild)")
        return value.strip().lower()


class TextMapping(Setting):
    """Names and texts, such as HTTP headers."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValidationError("expected a mapping of names and texts")
        wrong = {
            key: ["expected text of one line; put it in quotes"]
            for key, text in value.items()
            if not isinstance(text, str) or "\n" in text or "\r" in text
        }
        if wrong:
            raise ValidationError(wrong)
        return {str(key): text for key, text in value.items()}


class Keys(Setting):
    """Secrets; blank ones (`${NAME:-}`) do not count, and one given twice counts once."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        if not isinstance(value, list):
            raise ValidationError("expected a list of keys, such as [key]")
        wrong = {i: ["expected text: put it in quotes"] for i, key in enumerate(value) if not isinstance(key, str)}
        if wrong:
            raise ValidationError(dict[Any, Any](wrong))
        return list(dict.fromkeys(key.strip() for key in value if key.strip()))


class Words(Setting):
    """One of the known words, or a list of them; each counts once."""

    def __init__(self, known: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = known

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list):
            raise ValidationError(f"expected one or more of {', '.join(self.known)}")
        wrong: dict[Any, Any] = {
            index: [f"expected one of {', '.join(self.known)}{suggestion(str(word), list(self.known))}"]
            for index, word in enumerate(words)
            if not isinstance(word, str) or word.strip() not in self.known
        }
        if wrong:
            raise ValidationError(wrong[0] if isinstance(value, str) else wrong)
        return list(dict.fromkeys(word.strip() for word in words))


class Switches(Setting):
    """Known names, each with true or false; those left out are on."""

    def __init__(self, known: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = known

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, bool]:
        if not isinstance(value, dict):
            raise ValidationError("expected a mapping such as {slack: false}; {} for all of them")
        wrong: dict[Any, Any] = {
            name: [f"expected one of {', '.join(self.known)}{suggestion(str(name), list(self.known))}"]
            for name in value
            if name not in self.known
        }
        if wrong:
            raise ValidationError(wrong)
        switch = YesNo()
        given: dict[str, bool] = {}
        for name, is_on in value.items():
            try:
                given[name] = switch._deserialize(is_on, name, value)
            except ValidationError as error:
                wrong[name] = error.messages
        if wrong:
            raise ValidationError(wrong)
        return {name: given.get(name, True) for name in self.known}
