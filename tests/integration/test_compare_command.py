"""`compare`, fed with exports and with a second webhook of the old source."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import app
from connector.json_codec import write_json
from connector.model import ReceivedEvent
from tests.fixture_files import FIXTURES
from tests.integration.command_line import CommandLine
from tests.rudderstack_source import rudderstack_event

NAMES = ("email_opened", "email_clicked", "sms_delivered", "in_app_opened", "push_bounced")
PAYLOADS = [json.loads((FIXTURES / "events" / f"{name}.json").read_text("utf-8")) for name in NAMES]
OLD = [rudderstack_event(payload, datetime(2026, 9, 1, 12, tzinfo=UTC)) for payload in PAYLOADS]
ALL_TIMES = ("--since", "2026-01-01", "--until", "2100-01-01")  # the examples happened long before they are received
CONFIGURATION = """
sources:
  - {name: production, write_keys: [wk_0123456789abcdef]}
  - {name: old-rudderstack, write_keys: [wk_old_0123456789ab]}
destinations:
  - {name: files, type: file, sources: [production]}
"""


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    (tmp_path / "connector.yaml").write_text(CONFIGURATION, "utf-8")
    return CommandLine(
        tmp_path,
        {
            "CONNECTOR_CONFIG": str(tmp_path / "connector.yaml"),
            "CONNECTOR_DATA_DIR": str(tmp_path / "data"),
        },
    )


def export(folder: Path, events: list[dict[str, Any] | None], name: str = "export.ndjson") -> str:
    path = folder / name
    content = b"".join(write_json(event) + b"\n" for event in events)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


@pytest.mark.parametrize("name", ["export.ndjson", "export.json.gz"])
def test_an_export_with_known_differences_only_ends_well(line: CommandLine, tmp_path: Path, name: str) -> None:
    line.receive(*PAYLOADS)

    told = line.json("compare", export(tmp_path, OLD, name), *ALL_TIMES)

    assert (told["on_both_sides"], told["unexplained"], told["events"]) == (5, 0, [])
    assert {"field": "event", "kind": "different", "events": 1}.items() <= next(
        field for field in told["fields"] if field["field"] == "event"
    ).items()  # the in-app message, unknown to RudderStack


def test_an_unexplained_difference_is_shown_with_its_event_and_ends_with_1(line: CommandLine, tmp_path: Path) -> None:
    line.receive(*PAYLOADS)
    old = json.loads(json.dumps(OLD))
    old[1]["properties"]["deliveryId"] = "another"

    done = line.run("compare", export(tmp_path, old), *ALL_TIMES)

    assert done.exit_code == 1
    assert 'properties.deliveryId: old "another", new "' in done.output
    assert "1 with unexplained ones" in done.output


def test_rows_of_a_warehouse_are_read_from_csv(line: CommandLine, tmp_path: Path) -> None:
    line.receive(PAYLOADS[0])
    path = tmp_path / "email_opened.csv"
    row = {
        "id": "random",
        "event": "email_opened",
        "event_text": "Email Opened",
        "user_id": "usr_1001",
        "event_id": PAYLOADS[0]["event_id"],
        "delivery_id": "wrong",
        "original_timestamp": "2026-08-31 18:29:29.000 UTC",
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)

    told = line.json("compare", str(path), *ALL_TIMES, code=1)

    assert told["on_both_sides"] == 1
    assert "properties.deliveryId" in {one["field"] for one in told["events"][0]["differences"] if not one["reason"]}


def test_the_old_source_may_forward_its_events_to_a_source_of_ours(line: CommandLine) -> None:
    line.receive(*PAYLOADS)
    journal = line.open_journal()
    now = app.CLOCK.now()
    journal.append([ReceivedEvent("old-rudderstack", f"o{n}", write_json(event), now) for n, event in enumerate(OLD)])
    journal.close()

    told = line.json("compare", "--old-source", "old-rudderstack", *ALL_TIMES)

    assert (told["on_both_sides"], told["unexplained"]) == (5, 0)


def test_two_sets_of_files_are_compared_without_a_configuration(tmp_path: Path) -> None:
    line = CommandLine(tmp_path, {})
    ours = [
        event
        for name in NAMES
        for event in json.loads((FIXTURES / "normalized" / "rudderstack" / f"{name}.json").read_text("utf-8"))
    ]

    told = line.json("compare", export(tmp_path, OLD, "old.ndjson"), "--new", export(tmp_path, ours, "new.ndjson"))

    assert (told["on_both_sides"], told["unexplained"]) == (5, 0)


def test_rows_of_adobe_s_dataset_are_compared_with_what_came_in(line: CommandLine, tmp_path: Path) -> None:
    line.receive(PAYLOADS[0])
    row = {"_id": "x", "_acme": {"event_id0": PAYLOADS[0]["event_id"], "metricx": "clicked"}}

    told = line.json("compare", export(tmp_path, [row]), "--form", "adobe", *ALL_TIMES, code=1)

    assert [one["field"] for one in told["events"][0]["differences"] if not one["reason"]] == ["metric"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "name the old source's files, or --old-source"),
        (("nowhere.ndjson",), 1, "cannot be read"),
        (("--old-source", "nobody"), 1, "there is no source 'nobody'"),
    ],
)
def test_what_cannot_be_compared_is_said(line: CommandLine, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = line.run("compare", *arguments)

    assert done.exit_code == code
    assert said in done.output


def test_sides_that_share_nothing_are_no_success(line: CommandLine, tmp_path: Path) -> None:
    line.receive(PAYLOADS[0])

    done = line.run("compare", export(tmp_path, [OLD[1]]), *ALL_TIMES)

    assert done.exit_code == 1
    assert "Nothing was compared" in done.output
