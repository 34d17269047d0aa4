"""The tests that every destination type passes, whatever it is. A subclass names the type and its options."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from connector.destinations.base import Destination, Option
from connector.errors import SettingsError
from connector.model import Batch, Connection, Outcome, OutcomeKind, Refused, Response
from destination_contract.examples import NAMES, SENT_AT, an_open, deliveries_of, event_of, normalized

# How a status is judged by every type that has nothing else to say about it.
STATUSES: Mapping[int, OutcomeKind] = {
    **dict.fromkeys((200, 201, 202, 204), OutcomeKind.DELIVERED),
    **dict.fromkeys((301, 302, 308, 404, 405), OutcomeKind.MISCONFIGURED),
    **dict.fromkeys((400, 409, 422, 499), OutcomeKind.REJECTED),
    **dict.fromkeys((401, 403), OutcomeKind.UNAUTHORIZED),
    **dict.fromkeys((408, 425, 500, 502, 503, 504, 599), OutcomeKind.TRANSIENT),
    **dict.fromkeys((100, 0, -1, 600, 99999), OutcomeKind.TRANSIENT),  # what HTTP does not know, nobody understands
    413: OutcomeKind.TOO_LARGE,
    429: OutcomeKind.THROTTLED,
}
BODIES = (b"", b"ok", b"{}", b"null", b"[" * 100_000, b"\x00\xff\xfe", "ключ 🙂".encode(), b"<html>" * 50_000, b"\n \t")
ODD_EVENTS: tuple[dict[str, Any], ...] = (
    {},
    {"type": None, "userId": [], "event": {}, "messageId": 7},
    an_open(userId=True),
    an_open(type=["track"]),
    an_open(properties=None),
    an_open(properties=[1, 2]),
    an_open(properties={"content": None, "x": "\ud800\udfff\x00\u2028"}),
    an_open(number=2**100, small=1e-300, negative=-(2**63)),
    an_open(number=float("nan"), large=2**100),
    an_open(what={1, 2}),
    an_open(messageId="\n\x00ü"),
)
PAUSES: tuple[tuple[dict[str, str], float | None], ...] = (
    ({"retry-after": "17"}, 17),
    ({"retry-after": " 0 "}, 0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after": "Tue, 01 Sep 2026 12:01:30 GMT", "date": "Tue, 01 Sep 2026 12:00:00 GMT"}, 90),
    ({"retry-after": "Tue, 01 Sep 2026 11:00:00 GMT", "date": "Tue, 01 Sep 2026 12:00:00 GMT"}, 0),
    ({"retry-after": "Tue, 01 Sep 2026 12:01:30 GMT"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "9" * 400}, None),
    ({"retry-after": "Tue, 99 Sep 99999 12:01:30 GMT", "date": "x"}, None),
    ({}, None),
)
URLS_THAT_CANNOT_WORK = (
    "", "example.com", "ftp://example.com", "https://", "https://user:key@example.com", "https://a b/", "http://[::1",
    "http://h:x/",
)  # fmt: skip
ADDRESS = "ada@example.com"  # a person's, in the examples


class DestinationContract:
    """`class TestMine(DestinationContract): destination_type = MyDestination; options = {…}`"""

    destination_type: type[Destination]
    options: Mapping[str, Any]  # as in connector.yaml, every secret among them made up
    answer_to_all: bytes = b""  # the body of a 2xx that takes a batch of three events
    statuses: Mapping[int, OutcomeKind] = {}  # those that mean something else here
    reshapes: bool = False  # what leaves is not the standard event itself but something made of it

    # ── what the tests work with ──

    def connection(self, batch: Batch | None = None, **options: Any) -> Connection:
        made = self.destination_type
        defaults = {name: option.default for name, option in made.options.items()}
        given = {**defaults, **self.options, **options}
        return Connection(
            name="sample",
            type=made.type,
            options=given,
            profile=made.profile_for(given),
            batch=batch or made.default_batch,
        )

    def build(self, connection: Connection) -> Destination:
        return self.destination_type.variant(connection.options)(connection)

    def limited(self, max_bytes: int, max_events: int = 1) -> Destination:
        """A destination with so many bytes for its events."""
        batch = self.destination_type.default_batch
        around = self.build(self.connection(Batch(max_events, batch.max_bytes, 0.5))).envelope_bytes()
        return self.build(self.connection(Batch(max_events, max_bytes + around, 0.5)))

    def judged(self, destination: Destination, response: Response, count: int = 3) -> list[Outcome]:
        return destination.judge(response, deliveries_of(destination, [an_open()] * count))

    @pytest.fixture
    def destination(self) -> Destination:
        return self.build(self.connection())

    # ── what a type says of itself ──

    def test_it_names_itself_and_its_options(self) -> None:
        made = self.destination_type

        assert made.type.isidentifier()
        assert all(isinstance(option, Option) and option.meaning for option in made.options.values())
        assert set(self.options) <= set(made.options)

    def test_the_default_batch_is_within_the_limits(self) -> None:
        default, limit = self.destination_type.default_batch, self.destination_type.max_batch

        assert 0 < default.max_events <= limit.max_events
        assert 0 < default.max_bytes <= limit.max_bytes
        assert 0 < default.max_wait_seconds <= limit.max_wait_seconds

    @pytest.mark.parametrize("url", URLS_THAT_CANNOT_WORK)
    def test_an_address_that_cannot_work_is_refused_when_the_settings_are_read(self, url: str) -> None:
        option = self.destination_type.options.get("url")
        if option is None or (not url and not option.required):
            return

        with pytest.raises(SettingsError, match="destination sample: url must"):
            self.build(self.connection(url=url))

    # ── judging ──

    @pytest.mark.parametrize("status", STATUSES)
    def test_a_status_is_judged_the_same_for_all_deliveries(self, destination: Destination, status: int) -> None:
        kind = self.statuses.get(status, STATUSES[status])
        body = self.answer_to_all if 200 <= status < 300 else b""

        outcomes = self.judged(destination, Response(status, {}, body))

        assert [outcome.kind for outcome in outcomes] == [kind] * 3
        assert all(str(status) in outcome.reason for outcome in outcomes if kind is not OutcomeKind.DELIVERED)

    @pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
    @pytest.mark.parametrize("status", [200, 302, 400, 429, 500, 0])
    def test_no_answer_makes_judging_fail(self, destination: Destination, status: int, body: bytes) -> None:
        headers = {
            "retry-after": body.decode("latin-1")[:100],
            "location": "\x00ü",
            "date": "never",
            "x-ratelimit-reset": "²",
        }

        outcomes = self.judged(destination, Response(status, headers, body))

        assert len(outcomes) == 3
        assert all(len(outcome.reason) < 500 and outcome.reason.isprintable() for outcome in outcomes)

    def test_an_empty_batch_has_no_outcomes(self, destination: Destination) -> None:
        assert destination.judge(Response(500, {}, b""), []) == []

    @pytest.mark.parametrize(("headers", "seconds"), PAUSES, ids=range(len(PAUSES)))
    @pytest.mark.parametrize("status", [429, 503])
    def test_a_wish_for_a_pause_is_read(
        self, destination: Destination, status: int, headers: dict[str, str], seconds: float | None
    ) -> None:
        assert self.judged(destination, Response(status, headers, b""))[0].retry_after_seconds == seconds

    def test_a_reason_quotes_the_answer_on_one_line(self, destination: Destination) -> None:
        answer = b"field\r\n\tuserId\x00is \x1b[31mmissing" + b"." * 1000

        reason = self.judged(destination, Response(400, {}, answer))[0].reason

        assert "field userId is [31mmissing..." in reason
        assert len(reason) < 350

    def test_no_reason_shows_a_secret_or_an_address_that_the_answer_repeats(self, destination: Destination) -> None:
        request = destination.prepare(deliveries_of(destination, [an_open()]), SENT_AT)
        secrets = [
            str(self.options[name])
            for name, option in self.destination_type.options.items()
            if option.kind == "secret" and name in self.options
        ]
        secrets += [value.split()[-1] for name, value in request.headers.items() if name == "Authorization"]
        echo = f"bad request of {ADDRESS} with {secrets}".encode()

        for status in (302, 400, 401, 500):
            location = f"https://example.com/{'/'.join(secrets)}"
            reason = self.judged(destination, Response(status, {"location": location}, echo))[0].reason
            assert not [secret for secret in [*secrets, ADDRESS] if secret in reason]

    # ── encoding ──

    @pytest.mark.parametrize("name", NAMES)
    def test_every_example_is_one_line_of_json_or_refused_with_a_reason(
        self, destination: Destination, name: str
    ) -> None:
        for body in normalized(destination.connection.profile, name):
            encoded = destination.encode(event_of(body))

            if isinstance(encoded, Refused):
                assert encoded.reason
            else:
                assert b"\n" not in encoded
                document = json.loads(encoded)
                assert self.reshapes or {**document, "sentAt": 0} == {**body, "sentAt": 0}

    @pytest.mark.parametrize("body", ODD_EVENTS, ids=range(len(ODD_EVENTS)))
    def test_encoding_never_fails(self, destination: Destination, body: dict[str, Any]) -> None:
        encoded = destination.encode(event_of(body))

        assert encoded.reason if isinstance(encoded, Refused) else isinstance(json.loads(encoded), dict)

    def test_nesting_beyond_all_depth_never_fails(self, destination: Destination) -> None:
        nested: Any = 1
        for _ in range(100_000):
            nested = [nested]

        encoded = destination.encode(event_of(an_open(properties={"nested": nested})))

        assert self.reshapes or isinstance(encoded, Refused)

    def test_encoding_leaves_the_event_as_it_was(self, destination: Destination) -> None:
        body = an_open(properties={"content": "c" * 10_000_000})
        before = json.dumps(body)

        destination.encode(event_of(body))

        assert json.dumps(body) == before

    def test_no_encoded_event_is_larger_than_what_fits_a_request(self) -> None:
        small = self.limited(30_000)
        properties = {"subject": "hi", "headers": "h" * 20_000, "content": "c" * 60_000}

        encoded = small.encode(event_of(an_open(properties=properties)))

        assert isinstance(encoded, Refused) or len(encoded) <= 30_000

    def test_an_event_that_stays_too_large_is_refused(self, destination: Destination) -> None:
        limit = destination.connection.batch.max_bytes

        encoded = destination.encode(event_of(an_open(userId="u" * limit)))

        assert isinstance(encoded, Refused)
        assert encoded.reason

    @pytest.mark.parametrize("ids", [{}, {"userId": ""}, {"userId": "  ", "anonymousId": None}])
    def test_an_event_with_nobody_in_it_is_refused_where_a_person_is_needed(
        self, destination: Destination, ids: dict[str, Any]
    ) -> None:
        body = {key: value for key, value in an_open().items() if key != "userId"} | ids

        encoded = destination.encode(event_of(body))

        assert isinstance(encoded, Refused) is destination.needs_person
        assert not isinstance(encoded, Refused) or encoded.reason.startswith("no person")

    # ── building requests ──

    def test_the_same_batch_and_time_give_the_same_request(self, destination: Destination) -> None:
        deliveries = deliveries_of(destination, [an_open(messageId=f"m-{n}") for n in range(3)])

        assert destination.prepare(deliveries, SENT_AT) == destination.prepare(deliveries, SENT_AT)

    def test_a_later_try_differs_in_nothing_but_its_time(self, destination: Destination) -> None:
        deliveries = deliveries_of(destination, [an_open()])
        first, second = (destination.prepare(deliveries, SENT_AT + timedelta(seconds=n)) for n in (0, 1))

        assert first.url == second.url
        assert first.body.replace(b"12:00:01.250Z", b"") == second.body.replace(b"12:00:02.250Z", b"")

    def test_a_request_has_no_more_around_its_events_than_is_said(self) -> None:
        full = self.limited(900_000, max_events=50)
        deliveries = deliveries_of(full, [an_open(messageId=f"m-{n}") for n in range(50)])

        request = full.prepare(deliveries, SENT_AT)

        encoded_bytes = sum(len(delivery.encoded) + 1 for delivery in deliveries)
        assert len(request.body) <= encoded_bytes + full.envelope_bytes()

    def test_no_secret_stands_in_the_url(self, destination: Destination) -> None:
        request = destination.prepare(deliveries_of(destination, [an_open()]), SENT_AT)

        for name, option in self.destination_type.options.items():
            if option.kind == "secret" and self.options.get(name):
                assert str(self.options[name]) not in request.url
