"""Rules for common jobs, to be named instead of written. A plain table; docs/mappings.md has the same."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """A trigger, a mapping, or addresses to hash; an action takes as many presets as it names."""

    meaning: str
    where: str | None = None
    map: str | None = None  # after the action's own
    hash_addresses: tuple[str, ...] = ()  # paths; of what stands there, e-mail addresses only


# Wherever a profile, or Customer.io itself, has the person's address; the sender's is not among them.
_PERSONS_ADDRESS = (
    *("userId", "anonymousId", "**.email", "**.email_address", "**.recipient"),
    *("data.customer_id", "data.identifiers.id"),
)

PRESETS: Mapping[str, Preset] = {
    "only-email": Preset("only events of e-mails", where="object_type == 'email'"),
    "only-people": Preset(
        "only opens and clicks by people, none by software",
        where="(metric == 'opened' || metric == 'clicked') && !machine",
    ),
    "no-machines": Preset("everything but opens and clicks by software", where="!machine"),
    "hash-email": Preset(
        "the person's e-mail address becomes its hash, wherever it stands; salted by `privacy.salt`",
        hash_addresses=_PERSONS_ADDRESS,
    ),
    "snake-case": Preset(
        "names of properties and traits in snake_case; the envelope stays as the specification has it",
        map="snake_keys(@, 'properties', 'traits', 'context.traits', 'context.customerio')",
    ),
    "snake-case-everything": Preset(
        "all names in snake_case, `message_id` and `user_id` too; for endpoints and files of your own",
        map="snake_keys(@)",
    ),
}
