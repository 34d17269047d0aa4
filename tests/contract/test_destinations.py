"""What every destination type promises: the importable suite over the whole table, and our fixtures of each type."""

import json
from pathlib import Path

import pytest

from connector.destinations import DESTINATION_TYPES, build_destination
from connector.destinations.base import Destination
from connector.errors import SettingsError
from connector.model import Batch, Connection, Refused, Response
from destination_contract import DestinationContract
from destination_contract.examples import an_open, deliveries_of, event_of
from tests.fixture_files import FIXTURES
from tests.request_fixtures import REQUESTS, build_request, sample_connection, shown

RESPONSES = FIXTURES / "responses"

# Types that build a document of their own out of an event, instead of sending the event as it is.
REBUILDING = frozenset({"adobe"})
# Types that arrange the event anew, all of its properties in it.
RESHAPING = REBUILDING | {"customerio", "amplitude", "mixpanel", "posthog"}


class TestEveryDestination(DestinationContract):
    """A new type in the table is tested by itself."""

    @pytest.fixture(autouse=True, params=sorted(DESTINATION_TYPES))
    def take_the_next_type(self, request: pytest.FixtureRequest) -> None:
        self.destination_type = DESTINATION_TYPES[request.param]
        self.options = sample_connection(request.param).options
        self.reshapes = request.param in RESHAPING


@pytest.fixture(params=sorted(DESTINATION_TYPES))
def type_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def destination(type_name: str) -> Destination:
    return build_destination(sample_connection(type_name))


# ── the table ──


def test_the_table_names_each_type_as_it_names_itself(type_name: str) -> None:
    assert DESTINATION_TYPES[type_name].type == type_name


def test_an_unknown_type_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="type 'carrier_pigeon' is not one of rudderstack, segment"):
        build_destination(Connection("sample", "carrier_pigeon", {}))


# ── fixtures ──


@pytest.mark.parametrize("path", sorted(RESPONSES.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_destination_is_known_to_answer_is_understood(path: Path) -> None:
    fixture = json.loads(path.read_text(encoding="utf-8"))
    destination = build_destination(sample_connection(path.parent.name))
    response = Response(fixture["status"], fixture["headers"], fixture["body"].encode())

    outcome = destination.judge(response, deliveries_of(destination, [an_open()]))[0]

    assert outcome.kind == fixture["outcome"]
    assert outcome.retry_after_seconds == fixture.get("retry_after_seconds")
    assert path.stem.startswith(str(fixture["status"]))


def test_every_type_has_answers_among_the_fixtures(type_name: str) -> None:
    assert list((RESPONSES / type_name).glob("*.json"))


@pytest.mark.parametrize("path", sorted(REQUESTS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_request_is_that_of_the_fixture(path: Path) -> None:
    expected = json.loads(path.read_text(encoding="utf-8"))

    assert shown(build_request(path.parent.name, path.stem)) == expected, "run: python -m tests.request_fixtures"


def test_every_type_has_requests_among_the_fixtures(type_name: str) -> None:
    assert len(list((REQUESTS / type_name).glob("*.json"))) >= 5


# ── what our own types agree on, beyond the contract ──


def test_nesting_beyond_all_depth_is_refused(destination: Destination) -> None:
    nested: object = 1
    for _ in range(100_000):
        nested = [nested]

    encoded = destination.encode(event_of(an_open(properties={"nested": nested})))

    assert destination.type in REBUILDING or isinstance(encoded, Refused)
    assert not isinstance(encoded, Refused) or "JSON" in encoded.reason


@pytest.mark.parametrize("type_name", sorted(set(DESTINATION_TYPES) - REBUILDING))
def test_a_large_event_loses_its_content_then_its_headers_and_says_so(type_name: str) -> None:
    destination = build_destination(sample_connection(type_name))
    limit = destination.event_bytes(30_000)
    small = build_destination(sample_connection(type_name, Batch(1, limit + destination.envelope_bytes(), 0.5)))
    properties = {"subject": "hi", "headers": "h" * 20_000}

    both = text_of(small.encode(event_of(an_open(properties={**properties, "content": "c" * 9_000}))))
    one = text_of(small.encode(event_of(an_open(properties={**properties, "content": "c" * limit}))))
    huge = {"subject": "hi", "headers": "h" * limit, "content": "c"}
    none = text_of(small.encode(event_of(an_open(properties=huge))))

    assert all(part in both for part in ('"hi"', "h" * 20_000, "c" * 9_000))
    assert "truncated" not in both
    assert all(part in one for part in ('"hi"', "h" * 20_000, '"truncated":["content"]'))
    assert "cccc" not in one
    assert all(part in none for part in ('"hi"', '"truncated":["content","headers"]'))
    assert "hhhh" not in none


def test_an_event_that_stays_too_large_is_refused_with_both_sizes(destination: Destination) -> None:
    limit = destination.connection.batch.max_bytes

    encoded = destination.encode(event_of(an_open(userId="u" * limit)))

    assert isinstance(encoded, Refused)
    assert "too large" in encoded.reason or "id of its person is longer" in encoded.reason


def text_of(encoded: bytes | Refused) -> str:
    assert not isinstance(encoded, Refused), encoded.reason
    return encoded.decode()
