"""What `check`, `up` and `doctor` warn of: the connections, and the settings beside them. Looks up no name."""

from collections.abc import Iterator
from difflib import get_close_matches
from urllib.parse import urlsplit

from connector.connections import referenced_variables, warnings
from connector.model import Connection, Connections
from connector.settings import Settings
from connector.transports.address_guard import may_connect
from connector.variables import VARIABLES

ONLY_WITHOUT_FILE = ("SIGNING_KEY", "DESTINATION_TYPE", "DESTINATION_URL", "DESTINATION_WRITE_KEY")
ALIKE = 0.85  # from here on two names are one and a slip: CONECTOR_WORKERS is 0.97, OLD_WRITE_KEY 0.82
LOOPBACK = "127.0.0.1"


def second_looks(connections: Connections, settings: Settings) -> list[str]:
    """One sentence for each thing that is allowed and still probably not meant."""
    found = warnings(connections, settings.public_url)
    for destination in connections.destinations:
        found += _about_address(destination, settings)
    return found + list(_about_variables(settings))


def _about_address(destination: Connection, settings: Settings) -> Iterator[str]:
    url = destination.options.get("url")
    host = inner_host(url, settings) if isinstance(url, str) else None
    if host:
        yield (
            f"destination {destination.name!r}: {host} is an inner address, which is not called unless its network is "
            "named in CONNECTOR_ALLOW_NETWORKS"
        )


def inner_host(url: str, settings: Settings) -> str | None:
    """The host in the address, where it can be seen without asking anybody that it would not be called."""
    try:
        host = urlsplit(url).hostname
        is_this_machine = host == "localhost" or (host or "").endswith(".localhost")
        is_allowed = not host or may_connect(LOOPBACK if is_this_machine else host, settings.allow_networks)
    except ValueError:  # a name: whoever connects will see what it stands for
        return None
    return None if is_allowed else host


def _about_variables(settings: Settings) -> Iterator[str]:
    referenced = referenced_variables(settings)
    if settings.config_path is not None:
        for name in ONLY_WITHOUT_FILE:
            given = next((one for one in (name, f"{name}_FILE") if settings.environment.get(one)), None)
            if given and name not in referenced:
                path = settings.config_path.name
                yield f"{given} is set and has no effect: {path} decides, and does not mention ${{{name}}}"
    known = [variable.name for variable in VARIABLES]
    known += [f"{variable.name}_FILE" for variable in VARIABLES if variable.is_secret]
    for name in settings.dotenv_names:
        if name in known or name in referenced or name.removesuffix("_FILE") in referenced:
            continue
        if meant := get_close_matches(name.upper(), known, 1, ALIKE):
            yield f"{name} in .env is no setting and has no effect; is {meant[0]} meant?"
