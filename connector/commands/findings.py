"""What `doctor` finds: each a word, a sentence, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # worth a look
    FAIL = "fail"  # something does not work, or will not for long


@dataclass(frozen=True, slots=True)
class Finding:
    """`about`: what was looked at; `advice`: what to do, "" when nothing."""

    about: str
    level: Level
    text: str
    advice: str = ""


def ok(about: str, text: str) -> Finding:
    return Finding(about, Level.OK, text)


def warn(about: str, text: str, advice: str = "") -> Finding:
    return Finding(about, Level.WARN, text, advice)


def fail(about: str, text: str, advice: str = "") -> Finding:
    return Finding(about, Level.FAIL, text, advice)
