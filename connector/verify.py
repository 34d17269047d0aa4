"""Whose call is it, and is it genuine? Write key and X-CIO-Signature over the raw bytes; pure and constant-time.

What follows from the answer (an HTTP status, a place in quarantine) is decided by others.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from connector.model import SignatureMode, Source

MAX_TIMESTAMP_DIGITS = 12  # Unix seconds until the year 33658; longer ones are nonsense, and costly to convert


class SignatureState(StrEnum):
    """What became of comparing the signature."""

    GENUINE = "genuine"
    WRONG = "wrong"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the signature says of one received event; all but `state` go into ReceivedEvent as they are."""

    quarantine_reason: str | None
    proof: str | None  # fingerprint of the signing key that fits
    is_provisional: bool
    doubt: str  # provisional: what is doubted
    unproven_keys: tuple[str, ...]  # mode auto: the source's keys, for whoever remembers which are proven
    state: SignatureState | None  # None: not looked at


NOT_LOOKED_AT = Judgement(
    quarantine_reason=None, proof=None, is_provisional=False, doubt="", unproven_keys=(), state=None
)
SIGNATURE_REASONS = {
    SignatureState.MISSING: "the signature is missing",
    SignatureState.WRONG: "the signature is wrong",
}


class KeyRing:
    """All write keys of all sources. Looking one up takes the same time whichever it is and however much of it fits.

    Keyed digests are compared instead of the keys, so nothing can be learned from how long a look-up takes.
    """

    def __init__(self, sources: Iterable[Source], secret: bytes) -> None:
        """`secret`: up to 64 random bytes, new in each process."""
        self._secret = secret
        self._by_digest = {self._digest(key): source for source in sources for key in source.write_keys}

    def _digest(self, write_key: str) -> bytes:
        return hashlib.blake2b(write_key.encode("utf-8", "surrogatepass"), digest_size=32, key=self._secret).digest()

    def find(self, write_key: str) -> Source | None:
        """The source that the key names, or None."""
        return self._by_digest.get(self._digest(write_key))


def mask(write_key: str) -> str:
    """Enough of a rejected key for its owner to recognise it, never enough to use it."""
    shown = write_key[: min(4, len(write_key) // 3)]
    return f"{''.join(c if c.isprintable() else '?' for c in shown)}… ({len(write_key)} characters)"


def fingerprint(signing_key: str) -> str:
    """A short name for a signing key that can be stored and shown."""
    return hashlib.sha256(signing_key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def sign(signing_key: str, timestamp: str, body: bytes) -> str:
    """What Customer.io puts into X-CIO-Signature for this body."""
    return hmac.digest(_key_bytes(signing_key), _message(timestamp, body), "sha256").hex()


def prove(signing_keys: Iterable[str], signature: str, timestamp: str, body: bytes) -> str | None:
    """The fingerprint of the key that made this signature, or None. Headers as WSGI gives them, of any content."""
    given = signature.strip().lower().encode("utf-8", "surrogatepass")
    message = _message(timestamp, body)
    for key in signing_keys:
        expected = hmac.digest(_key_bytes(key), message, "sha256").hex().encode("ascii")
        if hmac.compare_digest(expected, given):
            return fingerprint(key)
    return None


def judge_signature(source: Source, signature: str | None, timestamp: str | None, body: bytes) -> Judgement:
    """What the source's signature mode makes of these headers over these very bytes."""
    if source.signature is SignatureMode.OFF or not source.signing_keys:
        # Settings refuse a mode without keys; were one to slip through, enforcing it would quarantine everything.
        return NOT_LOOKED_AT
    if signature is None or timestamp is None:
        state, proof = SignatureState.MISSING, None
    else:
        proof = prove(source.signing_keys, signature, timestamp, body)
        state = SignatureState.WRONG if proof is None else SignatureState.GENUINE
    is_proven = proof is not None
    is_refused = source.signature is SignatureMode.ENFORCE and not is_proven
    is_auto = source.signature is SignatureMode.AUTO
    return Judgement(
        quarantine_reason=SIGNATURE_REASONS[state] if is_refused else None,
        proof=proof,
        is_provisional=is_auto and not is_proven,
        doubt=SIGNATURE_REASONS[state] if is_auto and not is_proven else "",
        unproven_keys=tuple(map(fingerprint, source.signing_keys)) if is_auto else (),
        state=state,
    )


def age_seconds(timestamp: str | None, now: datetime) -> float | None:
    """How long ago the call says it was sent; negative for the future; None when it does not say."""
    if timestamp is None:
        return None
    digits = timestamp.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_TIMESTAMP_DIGITS):
        return None
    return now.timestamp() - int(digits)


def _key_bytes(signing_key: str) -> bytes:
    # The key is text even when it looks like hex: the official SDK does not decode it.
    return signing_key.encode("utf-8", "surrogatepass")


def _message(timestamp: str, body: bytes) -> bytes:
    return b"v0:" + timestamp.encode("latin-1", "replace") + b":" + body
