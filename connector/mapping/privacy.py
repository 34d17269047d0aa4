"""What must not leave: listed fields are dropped or hashed, last of all, after every mapping. Pure.

A list of paths is easily incomplete, so two things go beyond it: a name matches however it is written (`emailAddress`,
`email_address`), and an e-mail address or phone number that stood at a listed path is taken out of the whole event,
also where it is someone's id or part of a link.
"""

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any
from urllib.parse import quote

from connector.errors import MappingError
from connector.mapping.functions import digest, text_of
from connector.model import Privacy

MAX_PATH_PARTS = 20
MAX_REMEMBERED_STEPS = 8192  # names come from outside; past this the memory of steps starts anew
MAX_REMEMBERED_CHARACTERS = 100
MAX_SIGNS = 1000  # of @ in one text
MAX_CONTACTS = 100  # of one event
MAX_LOCAL_CHARACTERS = 64  # before the @ of an address, and after it: RFC 5321
MAX_DOMAIN_CHARACTERS = 255
ANY_ONE, ANY_DEPTH = "*", "**"
REMOVED = "[removed]"  # in the middle of a text

_PART = r"[^\s@<>\"',;:()\[\]/?&=]"  # of an address
_ADDRESS = re.compile(f"{_PART}+@{_PART}+")  # only to match a whole text with
_BEFORE = re.compile(f"{_PART}+$")
_AFTER = re.compile(f"{_PART}{{1,{MAX_DOMAIN_CHARACTERS}}}")
_SIGNS = re.compile("@|%40")
_PHONE = re.compile(r"\+[\d\s().-]{6,30}")
# Without them the event would be nobody's; a person whose address is dropped keeps a pseudonym.
_ID_NAMES = frozenset({"userid", "anonymousid", "customerid", "id"})

Path = tuple[str, ...]
State = frozenset[tuple[int, int]]  # rules that may still match, and how far each of them has


class Fate(IntEnum):
    """What becomes of a value; the largest that applies does."""

    KEEP = 0
    HASH_ADDRESSES = 1  # of the e-mail addresses in it
    HASH = 2
    DROP = 3


Step = tuple[Fate, State]


def parse_privacy_path(path: str, place: str = "privacy") -> Path:
    """The parts of a path such as `context.traits.email`, `properties.recipients.*.token`, `**.email`, as they are
    compared. Raises MappingError."""
    parts = path.split(".")
    if not all(part.strip() for part in parts) or len(parts) > MAX_PATH_PARTS:
        raise MappingError(f"{place}: {path!r} is not a path such as context.traits.email or **.email")
    compared: list[str] = []
    for part in parts:
        if part == ANY_DEPTH and compared and compared[-1] == ANY_DEPTH:
            continue
        compared.append(part if part in (ANY_ONE, ANY_DEPTH) else _plain_name(part))
    if compared[-1] == ANY_DEPTH:
        compared[-1] = ANY_ONE  # what stands there goes as a whole, so nothing is left below
    return tuple(compared)


def _plain_name(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold() or name


class Redaction:
    """Paths and what becomes of what stands there. Immutable, as far as one can see, and shared between threads."""

    def __init__(self, rules: Sequence[tuple[Path, Fate]], salt: str) -> None:
        self._rules = tuple(rules)
        self._salt = salt
        self._start = self._opened({(number, 0) for number in range(len(self._rules))})
        self._steps: dict[tuple[State, str], Step] = {}

    def apply(self, body: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
        """The body without what must not leave; neither is changed. `original` is the event before it was mapped:
        what a mapping has moved to another place is recognised by it. Raises MappingError when the event is nested too
        deeply, or holds more addresses than can be looked for."""
        try:
            contacts: dict[str, Fate] = {}
            self._collect(body, self._start, Fate.KEEP, contacts)
            if original is not body:
                self._collect(original, self._start, Fate.KEEP, contacts)
            scrub = _Scrub(contacts, self._salt) if contacts else None
            return self._redacted_object(body, self._start, Fate.KEEP, scrub)
        except RecursionError:
            raise MappingError("privacy: nested too deeply") from None

    # ── which paths lead where ──

    def _opened(self, state: set[tuple[int, int]]) -> State:
        """`**` stands for no level at all, too."""
        more = {(number, place + 1) for number, place in state if self._rules[number][0][place] == ANY_DEPTH}
        return frozenset(state | more)

    def _step(self, state: State, name: str) -> Step:
        known = self._steps.get((state, name))
        if known is None:
            known = self._find_step(state, _plain_name(name))
            if len(name) <= MAX_REMEMBERED_CHARACTERS:
                if len(self._steps) >= MAX_REMEMBERED_STEPS:
                    self._steps.clear()
                self._steps[state, name] = known
        return known

    def _find_step(self, state: State, name: str) -> Step:
        fate, onward = Fate.KEEP, set()
        for number, place in state:
            path, wanted = self._rules[number]
            part = path[place]
            if part == ANY_DEPTH:
                onward.add((number, place))
            elif part in (ANY_ONE, name):
                if place + 1 == len(path):
                    fate = max(fate, wanted)
                else:
                    onward.add((number, place + 1))
        return fate, self._opened(onward)

    def _step_into_list(self, state: State) -> Step:
        """A list's items stand where the list stands; `*` names them all."""
        fate, onward = self._step(state, "")
        return fate, state | onward

    # ── what stands there ──

    def _collect(self, value: Any, state: State, fate: Fate, contacts: dict[str, Fate]) -> None:
        """Notes the addresses and phone numbers at listed paths."""
        if isinstance(value, dict):
            for name, inner in value.items():
                found, onward = self._step(state, name)
                if onward or found or fate:
                    self._collect(inner, onward, max(found, fate), contacts)
        elif isinstance(value, list):
            found, onward = self._step_into_list(state)
            for item in value:
                self._collect(item, onward, max(found, fate), contacts)
        elif fate and isinstance(value, str):
            for contact in _contacts_in(value, fate):
                contacts[contact] = max(fate, contacts.get(contact, Fate.KEEP))
            if len(contacts) > MAX_CONTACTS:
                raise MappingError("privacy: listed fields hold too many e-mail addresses")

    def _redacted_object(
        self, value: dict[str, Any], state: State, fate: Fate, scrub: "_Scrub | None"
    ) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, inner in value.items():
            found, onward = self._step(state, name)
            found = max(found, fate)
            if found is Fate.DROP:
                continue
            if scrub is None and not found and not onward:
                made[name] = inner  # nothing in it is of interest
                continue
            kept = self._redacted(inner, onward, found, scrub, name)
            if kept is not _GONE:
                made[name if scrub is None else scrub.name(name)] = kept
        return made

    def _redacted(self, value: Any, state: State, fate: Fate, scrub: "_Scrub | None", name: str) -> Any:
        if isinstance(value, dict):
            return self._redacted_object(value, state, fate, scrub)
        if isinstance(value, list):
            found, onward = self._step_into_list(state)
            found = max(found, fate)
            if found is Fate.DROP:
                return []
            items = []
            for item in value:
                kept = self._redacted(item, onward, found, scrub, name)
                if kept is not _GONE:
                    items.append(kept)
            return items
        if fate is Fate.HASH and not isinstance(value, bool | None):
            return digest(_normal(text_of(value)), self._salt)
        return scrub.value(value, name) if scrub is not None and isinstance(value, str) else value


_GONE = object()


class _Scrub:
    """Takes known addresses and phone numbers out of the texts of one event."""

    def __init__(self, contacts: dict[str, Fate], salt: str) -> None:
        self._contacts = contacts
        self._salt = salt
        self._spellings = [
            (before, after, contact)
            for contact in contacts
            if "@" in contact
            for before, after in _spellings(*contact.rsplit("@", 1))
        ]

    def value(self, text: str, name: str) -> Any:
        """The text without them; _GONE when it was nothing else and is to be dropped."""
        whole = _normal(text)
        fate = self._contacts.get(whole)
        if fate is Fate.DROP and _plain_name(name) not in _ID_NAMES:
            return _GONE
        if fate is not None:
            return digest(whole, self._salt)
        return self.name(text)

    def name(self, text: str) -> str:
        """The text with those in the middle of it replaced."""
        if not self._spellings or not ("@" in text or "%40" in text):
            return text
        lowered = text.lower()
        if len(lowered) != len(text):
            text = lowered  # of a few letters the lower case is longer: places would not agree
        if lowered.count("@") + lowered.count("%40") > MAX_SIGNS:
            return REMOVED
        parts, done = [], 0
        for sign in _SIGNS.finditer(lowered):
            for before, after, contact in self._spellings:
                start = sign.start() - len(before)
                if start >= done and lowered.startswith(before, start) and lowered.startswith(after, sign.end()):
                    is_dropped = self._contacts[contact] is Fate.DROP
                    parts += [text[done:start], REMOVED if is_dropped else digest(contact, self._salt)]
                    done = sign.end() + len(after)
                    break
        return "".join(parts) + text[done:]


def _spellings(local: str, domain: str) -> tuple[tuple[str, str], ...]:
    """What stands before and after the @: as in a text, and as in a link."""
    linked = quote(local, safe="", errors="replace").lower(), quote(domain, safe="", errors="replace").lower()
    return ((local, domain),) if linked == (local, domain) else ((local, domain), linked)


def _contacts_in(text: str, fate: Fate) -> Iterator[str]:
    """The addresses in a text, in lower case; and the text when it is a phone number that is to go."""
    if text.count("@") > MAX_SIGNS:
        raise MappingError("privacy: a listed field holds too many e-mail addresses")
    # From each @ outwards: a pattern that looks for what stands before one would take for ever on a long text.
    for sign in re.finditer("@", text):
        before = _BEFORE.search(text[max(0, sign.start() - MAX_LOCAL_CHARACTERS) : sign.start()])
        after = _AFTER.match(text, sign.end())
        if before and after:
            yield f"{before[0]}@{after[0]}".lower().rstrip(".")
    if fate >= Fate.HASH and _PHONE.fullmatch(text.strip()):
        yield _normal(text)


def _normal(text: str) -> str:
    """What is hashed: without blanks around it; of a lone e-mail address, also with a name before it, the address in
    lower case."""
    stripped = text.strip()
    if "@" not in stripped:
        return stripped
    bare = stripped[stripped.rfind("<") + 1 : -1].strip() if stripped.endswith(">") and "<" in stripped else stripped
    return bare.lower() if _ADDRESS.fullmatch(bare) else stripped


def compile_redaction(privacy: Privacy | None, hash_addresses: Sequence[str] = ()) -> Redaction | None:
    """None when there is nothing to do. Raises MappingError for what is not a path."""
    rules = [(parse_privacy_path(path), Fate.HASH_ADDRESSES) for path in hash_addresses]
    if privacy is not None:
        rules += [(parse_privacy_path(path, "privacy.hash"), Fate.HASH) for path in privacy.hash]
        rules += [(parse_privacy_path(path, "privacy.drop"), Fate.DROP) for path in privacy.drop]
    return Redaction(rules, privacy.salt if privacy else "") if rules else None
