"""Every payload under fixtures/events, its normalized twins, and the schema of what leaves."""

import json

import pytest

from connector.json_codec import read_json
from connector.model import EventType
from connector.normalize import PROFILES, event_name, normalize, validate
from schemas.catalogue import DOCUMENTED
from schemas.standard_events import IdentifyEvent, TrackEvent
from tests.fixture_files import EVENTS, NAMES, NORMALIZED, normalized_fixture, received_fixture

SHAPES = {EventType.TRACK: TrackEvent(), EventType.IDENTIFY: IdentifyEvent()}
STANDARD_PROFILES = [profile for profile in PROFILES if profile != "raw"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_payload_normalizes_to_its_twin(profile: str) -> None:
    for name in NAMES:
        bodies = [event.body for event in normalize(received_fixture(name), profile, identify=True)]

        assert bodies == normalized_fixture(profile, name), f"{profile}/{name}: run tests.regenerate_fixtures"


@pytest.mark.parametrize("profile", PROFILES)
def test_no_twin_is_left_without_its_payload(profile: str) -> None:
    assert {path.stem for path in (NORMALIZED / profile).iterdir()} == set(NAMES)


@pytest.mark.parametrize("profile", STANDARD_PROFILES)
def test_what_leaves_fits_the_schema_of_standard_events(profile: str) -> None:
    for name in NAMES:
        for event in normalize(received_fixture(name), profile, identify=True, keep_content=True):
            assert SHAPES[event.type].validate(event.body) == {}, name


def test_a_fixture_bears_the_name_of_its_event() -> None:
    for name in NAMES:
        event = normalize(received_fixture(name))[0]

        assert name == event.name or name.startswith(event.name + "__"), name


def test_the_cheap_name_is_the_name_that_normalizing_finds() -> None:
    for name in NAMES:
        received = received_fixture(name)
        event = normalize(received)[0]

        assert event_name(read_json(received.body)) == (event.object_type, event.metric), name


def test_every_documented_pair_has_a_fixture() -> None:
    assert len(DOCUMENTED) == 93  # 66 messages, 4 without a schema, 24 of subscriptions; email_unsubscribed is of both
    assert {f"{object_type}_{metric}" for object_type, metric in DOCUMENTED} <= set(NAMES)


@pytest.mark.parametrize("profile", STANDARD_PROFILES)
def test_no_documented_pair_is_unknown_to_a_profile(profile: str) -> None:
    for object_type, metric in DOCUMENTED:
        event = normalize(received_fixture(f"{object_type}_{metric}"), profile)[0]

        assert "Unknown" not in event.body["event"]
        assert not any(name.lower().startswith("raw") for name in event.body["properties"])


def test_the_documentation_would_object_to_none_of_the_plain_fixtures() -> None:
    for name in NAMES:
        if "__" not in name:
            assert validate(received_fixture(name)) == {}, name


def test_raw_is_the_payload_itself() -> None:
    for name in NAMES:
        (event,) = normalize(received_fixture(name), "raw", identify=True)

        assert event.body == json.loads((EVENTS / f"{name}.json").read_text())
