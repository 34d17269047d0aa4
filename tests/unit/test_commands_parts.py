"""The parts of the command line that decide something by themselves."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from connector.commands.answers import ago, in_bytes, pretty
from connector.commands.examine_machine import examine_home, filesystem_of, is_in_container
from connector.commands.examine_network import examine_clock, skew_seconds
from connector.commands.findings import Level
from connector.commands.leftovers import is_object
from connector.commands.operating import without_settled_replays
from connector.commands.payloads import Payload, new_ulid, paced, receiver_url, with_new_id
from connector.encryption import decrypt, encrypt, rotate_all
from connector.errors import SettingsError
from connector.fate import Fate, State, connection_then
from connector.json_codec import read_json
from connector.model import Connection
from tests.fakes import FakeClock

NOW = datetime.fromisoformat("2026-09-01T12:00:00+00:00")


# ── words ──


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (0.4, "just now"), (59, "59 s ago"), (61, "1 min ago"), (7300, "2 h ago"), (-90, "in 1 min")],
)
def test_a_moment_is_told_as_a_person_would(seconds: float, words: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_a_row_names_a_replay_only_where_it_alone_brought_the_event() -> None:
    there, earlier = Fate("there", State.DELIVERED, ""), Fate("new", State.EARLIER, "came before")
    again, left_out = Fate("there", State.DELIVERED, "", replay="replay-1"), Fate("new", State.FILTERED, "", replay="r")
    brought, dead = Fate("new", State.DELIVERED, "", replay="replay-2"), Fate("new", State.DEAD, "no", replay="r")

    assert without_settled_replays([there, earlier, again, left_out]) == [there, earlier]
    assert without_settled_replays([there, earlier, brought]) == [there, brought]
    assert without_settled_replays([there, earlier, brought, dead]) == [there, brought, dead]


def test_what_never_happened_is_never() -> None:
    assert ago(None, NOW) == "never"


@pytest.mark.parametrize(("size", "words"), [(0, "0 bytes"), (1536, "1.5 KiB"), (3 * 2**40, "3.0 TiB")])
def test_sizes_have_a_fitting_unit(size: int, words: str) -> None:
    assert in_bytes(size) == words


@pytest.mark.parametrize("body", [b"\x1b[2J", b"\xff\x00", b"[" * 100_000, b'{"a": "\\u001b]0;x\\u0007"}'])
def test_nothing_in_a_body_can_steer_the_terminal(body: bytes) -> None:
    assert all(mark.isprintable() or mark in "\n\t" for mark in pretty(body))


# ── payloads ──


def test_a_fresh_id_changes_nothing_else() -> None:
    payload = Payload("x", b'{ "metric":"sent",  "event_id":"01OLD", "n": 12345678901234567890123 }')

    renewed = with_new_id(payload, FakeClock())

    assert renewed.event_id != "01OLD"
    assert renewed.body.replace(renewed.event_id.encode(), b"01OLD") == payload.body


def test_an_id_that_stands_twice_is_renewed_where_it_is_the_id() -> None:
    payload = Payload("x", b'{"event_id":"01OLD","data":{"event_id":"01OLD"}}')

    renewed = read_json(with_new_id(payload, FakeClock()).body)

    assert renewed["event_id"] != "01OLD"
    assert renewed["data"] == {"event_id": "01OLD"}


@pytest.mark.parametrize("body", [b"not JSON", b"[1]", b'{"metric":"sent"}', b'{"event_id":7}'])
def test_what_has_no_id_stays_as_it_is(body: bytes) -> None:
    assert with_new_id(Payload("x", body), FakeClock()).body == body


def test_new_ids_look_like_those_of_customerio_and_grow_with_time() -> None:
    clock = FakeClock()
    first = new_ulid(clock)
    clock.advance(1)
    second = new_ulid(clock)

    assert len(first) == len(second) == 26
    assert first < second


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("http://h:1", "http://h:1/v1/webhook?writeKey=k%2F1"),
        ("http://h:1/", "http://h:1/v1/webhook?writeKey=k%2F1"),
        ("http://h/other?a=b", "http://h/other?a=b&writeKey=k%2F1"),
        ("http://h/v1/webhook?writeKey=own", "http://h/v1/webhook?writeKey=own"),
    ],
)
def test_the_address_to_call_is_completed(url: str, whole: str) -> None:
    assert receiver_url(url, "k/1") == whole


def test_a_rate_makes_pauses() -> None:
    pauses: list[float] = []

    list(paced([Payload("x", b"")] * 3, 1000.0, pauses.append))

    assert len(pauses) == 2


# ── encrypted values ──


def test_rotating_a_file_keeps_everything_but_the_values() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    text = f"# a comment, enc: alone\r\nkey: {encrypt('secret', [old])}  # why\n"

    rotated, count = rotate_all(text, [new, old])

    value = rotated.split("key: ")[1].split()[0]
    assert count == 1
    assert decrypt(value, [new]) == "secret"
    assert rotated.replace(value, "") == text.replace(text.split("key: ")[1].split()[0], "")


def test_a_value_that_no_key_fits_is_named_with_its_line() -> None:
    text = f"a: 1\nb: {encrypt('secret', [Fernet.generate_key().decode()])}\n"

    with pytest.raises(SettingsError, match="line 2"):
        rotate_all(text, [Fernet.generate_key().decode()])


# ── doctor ──

MOUNTS = "overlay / overlay rw 0 0\n/dev/sda1 /data ext4 rw 0 0\ntmpfs /data/tmp\\040x tmpfs rw 0 0\nbroken\n"


@pytest.mark.parametrize(
    ("folder", "filesystem"), [("/data", "ext4"), ("/data/sub", "ext4"), ("/srv", "overlay"), ("/data/tmp x", "tmpfs")]
)
def test_the_file_system_of_a_folder_is_that_of_the_deepest_mount(folder: str, filesystem: str) -> None:
    assert filesystem_of(Path(folder), MOUNTS) == filesystem


@pytest.mark.parametrize(
    ("in_container", "filesystem", "level"),
    [
        (True, "overlay", Level.FAIL),
        (True, "tmpfs", Level.FAIL),
        (True, "ext4", Level.OK),
        (False, "overlay", Level.OK),
        (False, "tmpfs", Level.FAIL),
        (False, "nfs4", Level.FAIL),
        (False, "", Level.OK),
    ],
)
def test_a_data_folder_that_a_restart_would_lose_is_found(in_container: bool, filesystem: str, level: Level) -> None:
    assert examine_home(Path("/data"), in_container, filesystem).level is level


@pytest.mark.parametrize(
    ("environment", "files", "expected"),
    [
        ({}, {}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {}, True),
        ({}, {".dockerenv": ""}, True),
        ({}, {"proc/1/cgroup": "0::/kubepods/besteffort/pod1"}, True),
        ({}, {"proc/1/cgroup": "0::/init.scope"}, False),
    ],
)
def test_a_container_is_known_by_its_signs(
    environment: Mapping[str, str], files: Mapping[str, str], expected: bool, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert is_in_container(environment, tmp_path) is expected


@pytest.mark.parametrize(
    ("skews", "level"), [([], Level.OK), ([0.0, 400.0], Level.OK), ([-30.0], Level.WARN), ([400.0], Level.FAIL)]
)
def test_the_clock_is_judged_by_the_answer_that_agrees_best(skews: list[float], level: Level) -> None:
    assert examine_clock(skews).level is level


def test_the_second_of_a_date_header_and_the_way_of_the_answer_are_no_skew() -> None:
    assert skew_seconds(NOW, NOW + timedelta(seconds=3), NOW + timedelta(seconds=2)) == 0
    assert skew_seconds(NOW + timedelta(seconds=0.9), NOW + timedelta(seconds=0.9), NOW) == 0
    assert skew_seconds(NOW, NOW, NOW + timedelta(seconds=30)) == -30
    assert skew_seconds(NOW, NOW, NOW - timedelta(seconds=31)) == 30


# ── the rest ──


@pytest.mark.parametrize(("body", "expected"), [(b"{}", True), (b"[]", False), (b"x", False), (b"", False)])
def test_only_a_json_object_can_be_released(body: bytes, expected: bool) -> None:
    assert is_object(body) is expected


def test_the_rules_of_then_come_back_out_of_the_journal() -> None:
    now = Connection("rudder", "rudderstack", {}, events=("sms_*",))
    definition = (
        '{"events": ["email_*"], "profile": "segment", "identify": true, "keep_content": false, "actions": [{"name":'
        ' "opens", "where": "!machine", "fields": {}, "map": null, "enabled": true, "distinct": false}]}'
    )

    then = connection_then(now, definition)

    assert (then.events, then.profile, then.identify) == (("email_*",), "segment", True)
    assert then.actions[0].where == "!machine"
