"""Whatever the JSON holds: normalizing never raises, repeats itself exactly, and its result can be written."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import PayloadError
from connector.json_codec import read_json, write_json
from connector.normalize import PROFILES, event_name, normalize, validate
from schemas.catalogue import DOCUMENTED
from schemas.message import MessageData
from schemas.standard_events import IdentifyEvent, TrackEvent
from tests.fixture_files import received

QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(st.characters(categories=("L", "N", "P", "Z", "C", "S")), max_size=12)
WORDS = st.sampled_from(
    ["", " ", "null", "a@b", "A <a@b>", "<>", "1", "1e5", "true", "__proto__", "constructor", "\x00", "\ud83d", "{}"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    WORDS,
    TEXT,
)
FIELDS = st.sampled_from(
    sorted({*MessageData().load_fields, "identifiers", "recipients", "subject", "id", "email", "cio_id", "topics"})
)
KEYS = st.one_of(FIELDS, WORDS, TEXT)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=20,
)
OBJECT_TYPES = st.sampled_from(sorted({object_type for object_type, _ in DOCUMENTED}))
METRICS = st.sampled_from(sorted({metric for _, metric in DOCUMENTED}))
PAYLOADS = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"data": st.one_of(st.dictionaries(KEYS, JSON, max_size=10), JSON)},
        optional={
            "event_id": SCALARS,
            "object_type": st.one_of(OBJECT_TYPES, JSON),
            "object_type_type": st.one_of(OBJECT_TYPES, JSON),
            "metric": st.one_of(METRICS, JSON),
            "event_type": st.one_of(st.sampled_from(["email_opened", "in_app_clicked"]), JSON),
            "timestamp": st.one_of(st.integers(), SCALARS, JSON),
        },
    ),
)


@QUICK
@given(payload=PAYLOADS, keep_content=st.booleans())
def test_any_json_normalizes_the_same_way_twice_and_can_be_written(payload: Any, keep_content: bool) -> None:
    event = received(write_json(payload))

    for profile in PROFILES:
        once = normalize(event, profile, identify=True, keep_content=keep_content)
        again = normalize(event, profile, identify=True, keep_content=keep_content)

        assert once == again
        for found in once:
            assert isinstance(read_json(write_json(found.body)), dict)
            found.name.encode()  # a name is always text that can be stored


@QUICK
@given(payload=PAYLOADS)
def test_any_json_becomes_events_of_the_standard_shape(payload: Any) -> None:
    track, *identify = normalize(received(write_json(payload)), "segment", identify=True)

    assert TrackEvent().validate(track.body) == {}
    assert all(IdentifyEvent().validate(event.body) == {} for event in identify)
    assert event_name(payload) == (track.object_type, track.metric)


@QUICK
@given(body=st.one_of(st.binary(max_size=60), TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_an_event_and_strict_mode_says_what_it_thinks(body: bytes) -> None:
    assert len(normalize(received(body))) == 1
    errors = validate(received(body))
    try:
        assert errors or isinstance(read_json(body), dict)
    except PayloadError:
        assert list(errors) == ["body"]


@QUICK
@given(payload=PAYLOADS)
def test_strict_mode_answers_any_json_with_paths_and_texts(payload: Any) -> None:
    errors = validate(received(write_json(payload)))

    assert all(isinstance(path, str) and messages for path, messages in errors.items())
