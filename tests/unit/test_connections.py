from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.connections import LiveConnections, load_connections, warnings, write_yaml_from_environment
from connector.destinations import DESTINATION_TYPES
from connector.encryption import encrypt, generate_key
from connector.errors import SettingsError
from connector.mapping import DEFAULT_ACTIONS, PRESETS
from connector.model import Action, Batch, Connections, Privacy, Retention, SignatureMode
from connector.normalize import PROFILES
from connector.settings import load_settings
from schemas import connections as shapes

ROOT = Path(__file__).parents[2]
SOURCE = "sources: [{name: production, write_keys: [long-enough-write-key]}]\n"
HOOK = "{name: hook, type: http, url: 'https://example.com'%s}"


def load(text: str, directory: Path, **environ: str) -> Connections:
    (directory / "connector.yaml").write_text(text, "utf-8")
    return load_connections(load_settings(environ, directory))


def load_hook(extra: str, directory: Path, **environ: str) -> Connections:
    return load(f"{SOURCE}destinations:\n  - {HOOK % (', ' + extra)}\n", directory, **environ)


def problems_of(text: str, directory: Path, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text, directory, **environ)
    prefix = f"{directory / 'connector.yaml'}:"
    return [problem.removeprefix(prefix) for problem in caught.value.problems]


def problems_of_hook(extra: str, directory: Path) -> list[str]:
    return problems_of(f"{SOURCE}destinations:\n  - {HOOK % (', ' + extra)}\n", directory)


# ── what is read ──


def test_the_example_file_is_read_whole(tmp_path: Path) -> None:
    names = ("WRITE_KEY", "RUDDER_WRITE_KEY", "SEGMENT_WRITE_KEY", "HOOK_TOKEN", "HOOK_SECRET")
    environ = {name: f"value-of-{name}" for name in names}

    connections = load((ROOT / "connector.example.yaml").read_text("utf-8"), tmp_path, **environ)

    rudder, segment, hook, files = connections.destinations
    assert connections.sources[0].write_keys == ("value-of-WRITE_KEY",)
    assert rudder.options["write_key"] == "value-of-RUDDER_WRITE_KEY"
    assert rudder.events == ("email_*", "sms_*", "!*_drafted")
    assert rudder.batch == Batch(100, 450_000, 0.5)
    assert rudder.actions == (
        Action(
            "opens by people",
            where="metric == 'opened' && !machine",
            fields={"context.campaign.id": "properties.campaignId"},
            map="merge(@, {channel: 'email'})",
        ),
    )
    assert (rudder.events_per_second, rudder.concurrency, rudder.timeout_seconds) == (500, 2, 10)
    assert sum(rudder.retry.delays_seconds) == 10_818
    assert segment.options["region"] == "us"
    assert hook.options["headers"] == {"Authorization": "Bearer value-of-HOOK_TOKEN"}
    assert files.options["path"] == "data/events"
    assert connections.retention == Retention(None, None, 30 * 86400)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    (hook,) = load_hook("enabled: true", tmp_path).destinations

    assert (hook.sources, hook.start, hook.events, hook.identify, hook.keep_content) == (None, "now", (), False, False)
    assert hook.actions == DEFAULT_ACTIONS
    assert hook.privacy is None
    assert hook.retry.retries == 14
    assert hook.events_per_second is None


@pytest.mark.parametrize(
    ("extra", "field", "value"),
    [
        ("sources: []", "sources", ()),
        ("start: beginning", "start", "beginning"),
        ("start: 2026-08-31", "start", datetime(2026, 8, 31, tzinfo=UTC)),
        ("start: 2026-08-31T20:30:00.5+02:00", "start", datetime(2026, 8, 31, 18, 30, 0, 500_000, UTC)),
        ("content: keep", "keep_content", True),
        ("identify: yes", "identify", True),
        ("timeout: 500ms", "timeout_seconds", 0.5),
        ('timeout: "${SECONDS}"', "timeout_seconds", 7),
        ('concurrency: "${SECONDS}"', "concurrency", 7),
        ('enabled: "${SWITCH}"', "enabled", False),
        ("batch: {max_events: 5, max_bytes: 10KB}", "batch", Batch(5, 10_000, 0.5)),
        ("events: [Email_*]", "events", ("email_*",)),
    ],
)
def test_settings_are_read(extra: str, field: str, value: object, tmp_path: Path) -> None:
    (hook,) = load_hook(extra, tmp_path, SECONDS="7", SWITCH="off").destinations

    assert getattr(hook, field) == value


def test_default_actions_are_switched_off_one_by_one(tmp_path: Path) -> None:
    (hook,) = load_hook("default_actions: {slack: false, other: off, email: true}", tmp_path).destinations

    assert [action.name for action in hook.actions if not action.enabled] == ["slack", "other"]
    assert [action.object_type for action in hook.actions] == [*shapes.DEFAULT_ACTIONS]


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ("actions: [{name: mine}]", ["mine"]),
        ("actions: [{name: mine}], default_actions: {email: false}", ["mine", *shapes.DEFAULT_ACTIONS]),
        ("default_actions: {}", [*shapes.DEFAULT_ACTIONS]),
    ],
)
def test_actions_stand_alone_unless_default_ones_are_named_beside_them(
    extra: str, names: list[str], tmp_path: Path
) -> None:
    (hook,) = load_hook(extra, tmp_path).destinations

    assert [action.name for action in hook.actions] == names


def test_presets_of_the_destination_come_before_those_of_an_action(tmp_path: Path) -> None:
    extra = "preset: only-email, actions: [{name: a, preset: [snake-case, only-email]}, {name: b}]"

    (hook,) = load_hook(extra, tmp_path).destinations

    assert [action.presets for action in hook.actions] == [("only-email", "snake-case"), ("only-email",)]


def test_privacy_is_read_with_its_salt_from_the_environment(tmp_path: Path) -> None:
    extra = "privacy: {drop: [context.traits.phone], hash: ['**.email'], salt: '${SALT}'}"

    (hook,) = load_hook(extra, tmp_path, SALT="pepper").destinations

    assert hook.privacy == Privacy(("context.traits.phone",), ("**.email",), "pepper")


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("default_actions: {slck: false}", "default_actions.slck: expected one of customer, email"),
        ("default_actions: {slack: maybe}", "default_actions.slack: expected true or false"),
        ("default_actions: [slack]", "default_actions: expected a mapping such as {slack: false}"),
        ("default_actions: {sms: no}, actions: [{name: email}]", "actions[0].name: a default action has this name"),
        ("preset: only-emails", "preset: expected one of only-email"),
        ("preset: [only-email, 5]", "preset[1]: expected one of only-email"),
        ("preset: 5", "preset: expected one or more of only-email"),
        ("privacy: {hash: [a..b]}", "privacy.hash[0]: expected a path: 'a..b' is not a path"),
        ("privacy: {drop: email}", "privacy.drop: expected a list"),
        ("privacy: {salt: 5}", "privacy.salt: expected text: put it in quotes"),
        ("privacy: {hashes: []}", "privacy.hashes: unknown setting; did you mean hash?"),
    ],
)
def test_mistakes_in_mappings_are_named(extra: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems_of_hook(extra, tmp_path)

    assert f"destinations[0].{problem}" in found


def test_default_actions_draw_no_warning_and_an_own_one_beside_its_default_does(tmp_path: Path) -> None:
    own = "{name: opens, where: \"object_type == 'email' && metric == 'opened'\"}"
    alone = load_hook("enabled: true", tmp_path)
    beside = load_hook(f"default_actions: {{email: false}}, actions: [{own}]", tmp_path)
    doubled = load_hook(f"default_actions: {{}}, actions: [{own}]", tmp_path)

    said = [[text for text in warnings(made) if "may take" in text] for made in (alone, beside, doubled)]

    assert [len(texts) for texts in said] == [0, 0, 1]
    assert "'opens' and 'email'" in said[2][0]


def test_the_schema_and_the_code_name_the_same_presets_and_default_actions() -> None:
    assert tuple(PRESETS) == shapes.PRESETS
    assert tuple(action.name for action in DEFAULT_ACTIONS) == shapes.DEFAULT_ACTIONS


@pytest.mark.parametrize(
    ("text", "retention"),
    [
        ("{}", Retention()),
        ("{events: forever, attempts: forever}", Retention(None, None, None)),
        ("{events: 90d, size: 50GB, attempts: 12h}", Retention(90 * 86400, 50 * 10**9, 12 * 3600)),
        ("{events: 1.5w, size: 1.5TiB}", Retention(1.5 * 7 * 86400, 3 * 2**39)),
    ],
)
def test_retention_is_read(text: str, retention: Retention, tmp_path: Path) -> None:
    assert load(f"{SOURCE}retention: {text}\n", tmp_path).retention == retention


@pytest.mark.parametrize(
    ("extra", "keys", "mode"),
    [
        ("", (), SignatureMode.OFF),
        (", signing_keys: ['${KEY:-}']", (), SignatureMode.OFF),
        (", signing_keys: [' a ', b, a]", ("a", "b"), SignatureMode.AUTO),
        (", signing_keys: [a], signature: enforce", ("a",), SignatureMode.ENFORCE),
        (", signing_keys: [a], signature: off", ("a",), SignatureMode.OFF),
    ],
)
def test_the_signature_mode_follows_the_signing_keys(
    extra: str, keys: tuple[str, ...], mode: SignatureMode, tmp_path: Path
) -> None:
    (source,) = load(f"sources: [{{name: a, write_keys: [b]{extra}}}]", tmp_path).sources

    assert (source.signing_keys, source.signature) == (keys, mode)


# ── interpolation and secrets ──


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${NAME}", "a'b\"#: c"),
        ("x${NAME}y${NAME}", "xa'b\"#: cya'b\"#: c"),
        ("${MISSING:-default}", "default"),
        ("${BLANK:-default}", "default"),
        ("[${BLANK}]", "[]"),
        ("${MISSING:-}x", "x"),
        ("$${NAME} $NAME $5", "${NAME} $NAME $5"),
        ("${NESTED}", "${NAME}"),
        ("${FROM_FILE}", "in the file"),
    ],
)
def test_values_come_from_the_environment(written: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("in the file\n")
    environ = {"NAME": "a'b\"#: c", "BLANK": "", "NESTED": "${NAME}", "FROM_FILE_FILE": str(tmp_path / "secret")}

    (hook,) = load_hook(f'headers: {{x: "{written}"}}', tmp_path, **environ).destinations

    assert hook.options["headers"] == {"x": value}


@pytest.mark.parametrize("written", ["${", "${1}", "${A-b}", "${A B}"])
def test_a_malformed_reference_is_a_mistake(written: str, tmp_path: Path) -> None:
    (problem,) = problems_of_hook(f'headers: {{x: "{written}"}}', tmp_path)

    assert problem.startswith("3: destinations[0].headers.x: expected ${NAME}")


def test_a_missing_variable_is_named_with_its_line_and_draws_no_second_mistake(tmp_path: Path) -> None:
    text = 'sources:\n  - name: a\n    write_keys:\n      - "${MISSING}"\n    signature: "${MODE}"\n'

    assert problems_of(text, tmp_path) == [
        "4: sources[0].write_keys[0]: the environment variable MISSING is not set "
        "(${MISSING:-} would make it optional)",
        "5: sources[0].signature: the environment variable MODE is not set (${MODE:-} would make it optional)",
    ]


def test_encrypted_values_are_decrypted_with_any_of_the_keys(tmp_path: Path) -> None:
    old, new = generate_key(), generate_key()
    secret = encrypt("in clear", [old])

    environ = {"CONNECTOR_SECRET_KEY": f"{new},{old}", "INDIRECT": secret}
    (hook,) = load_hook(f'headers: {{a: "{secret}", b: "${{INDIRECT}}"}}', tmp_path, **environ).destinations

    assert hook.options["headers"] == {"a": "in clear", "b": "in clear"}


def test_an_encrypted_value_that_no_key_fits_is_a_mistake_that_does_not_show_it(tmp_path: Path) -> None:
    text = f"{SOURCE}destinations:\n  - {HOOK % ', signing_secret: enc:abc'}\n"

    problems = problems_of(text, tmp_path, CONNECTOR_SECRET_KEY=generate_key())

    assert problems == [
        "3: destinations[0].signing_secret: no key in CONNECTOR_SECRET_KEY can decrypt it",
    ]


# ── mistakes ──


def test_all_mistakes_are_reported_at_once_with_path_and_line(tmp_path: Path) -> None:
    text = """\
sources:
  - name: production
    write_keyz: [a]
  - name: production
    write_keys: [b]
    signature: enforce
destinations:
  - name: rudder
    type: rudderstak
  - name: hook
    type: http
    url: ftp://example.com
    sources: [prodution]
    batch:
      max_events: 99999999
    actions:
      - name: a
        where: "metric = 'x'"
        fields: {c: nosuch(@)}
  - text
retention: {events: 90}
"""

    assert problems_of(text, tmp_path) == [
        "2: sources[0].write_keys: is missing",
        "3: sources[0].write_keyz: unknown setting; did you mean write_keys?",
        "4: sources[1].name: 'production' is already the name of another",
        "6: sources[1].signature: needs signing_keys, which are missing or blank",
        "9: destinations[0].type: expected a type of destination: "
        f"{', '.join(DESTINATION_TYPES)}; did you mean rudderstack?",
        "12: destinations[1].url: expected an address that starts with https:// or http://",
        "13: destinations[1].sources[0]: there is no source 'prodution'; did you mean production?",
        "15: destinations[1].batch.max_events: expected a whole number from 1 to 10000",
        "18: destinations[1].actions[0].where: expected JMESPath: unexpected '=' at column 8 of metric = 'x'",
        "19: destinations[1].actions[0].fields.c: expected JMESPath: there is no function nosuch() (in nosuch(@))",
        "20: destinations[2]: expected a mapping of settings",
        "21: retention.events: expected forever, or a duration such as 12h, 30d or 8w",
    ]


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("enabled: maybe", "enabled: expected true or false"),
        ("enabled: null", "enabled: expected a value; leave the line out for the default"),
        ("sources: production", "sources: expected a list"),
        ("start: yesterday", "start: expected now, beginning, or a moment such as 2026-08-31T18:30:00Z"),
        ("start: 5", "start: expected now, beginning, or a moment such as 2026-08-31T18:30:00Z"),
        ("events: ['[ab]_x']", "events[0]: expected a pattern such as email_*"),
        ("events: ['!']", "events[0]: expected a pattern such as email_*"),
        ("profile: segmnt", "profile: expected one of rudderstack, segment, customerio, raw; did you mean segment?"),
        ("actions: []", "actions: expected at least one action"),
        ("actions: [{where: a}]", "actions[0].name: is missing"),
        ("actions: [{name: a, fields: {b: 1}}]", "actions[0].fields.b: expected text"),
        ("actions: [{name: a, fields: {b..c: d}}]", "actions[0].fields.b..c: expected a path: 'b..c' is not a path"),
        ("actions: [{name: a}, {name: a}]", "actions[1].name: 'a' is already the name of another"),
        ("content: kept", "content: expected one of drop, keep; did you mean keep?"),
        ("batch: {max_events: 0}", "batch.max_events: expected a whole number from 1 to 10000"),
        ("batch: {max_events: 1.5}", "batch.max_events: expected a whole number from 1 to 10000"),
        ("batch: {max_events: true}", "batch.max_events: expected a whole number from 1 to 10000"),
        ("batch: {max_wait: -1}", "batch.max_wait: expected seconds, or a duration such as 500ms or 5m, from 0"),
        ("batch: 5", "batch: expected a mapping of settings"),
        ("rate_limit: {events_per_second: 0}", "rate_limit.events_per_second: expected a number above 0"),
        ("rate_limit: {}", "rate_limit.events_per_second: is missing"),
        ("concurrency: -1", "concurrency: expected a whole number from 1 to 64"),
        ("timeout: 0", "timeout: expected seconds, or a duration such as 500ms or 5m, above 0 to 600"),
        ("retry: {retries: -1}", "retry.retries: expected a whole number from 0 to 1000"),
        ("retry: {retries: 1, delays: []}", "retry.delays: expected at least one delay"),
        ("retry: {delays: [-5]}", "retry.delays[0]: expected seconds, or a duration such as 500ms or 5m, from 0"),
        ("headers: {a: 1}", "headers.a: expected text of one line; put it in quotes"),
        ('headers: {a: "b\\r\\nc"}', "headers.a: expected text of one line; put it in quotes"),
        ("headers: [a]", "headers: expected a mapping of names and texts"),
        ("signing_secret: 12345", "signing_secret: expected text: put it in quotes"),
        ("method: GET", "method: expected one of POST, PUT"),
        ("retries: 3", "retries: unknown setting; did you mean retry?"),
    ],
)
def test_a_mistake_says_what_was_expected(extra: str, problem: str, tmp_path: Path) -> None:
    problems = problems_of_hook(extra, tmp_path)

    assert len(problems) == 1
    assert problems[0].startswith(f"3: destinations[0].{problem}")


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "ftp://example.com",
        "https://",
        "https://user:secret@example.com",
        "https://example.com:port",
        "https://exa mple.com",
        "https://[::1",
        "https://example.com/#part",
        "",
    ],
)
def test_a_bad_address_is_refused_without_repeating_it(url: str, tmp_path: Path) -> None:
    text = f"{SOURCE}destinations: [{{name: hook, type: http, url: '{url}'}}]"

    (problem,) = problems_of(text, tmp_path)

    assert problem.startswith("2: destinations[0].url: expected an address")
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{name: a/b, write_keys: [k]}", "1: sources[0].name: expected a name of letters"),
        ("{name: 12, write_keys: [k]}", "1: sources[0].name: expected a name: put it in quotes"),
        ("{name: a, write_keys: []}", "1: sources[0].write_keys: expected at least one write key"),
        ("{name: a, write_keys: ['']}", "1: sources[0].write_keys: expected at least one write key"),
        ("{name: a, write_keys: k}", "1: sources[0].write_keys: expected a list of keys, such as [key]"),
        ("{name: a, write_keys: [12]}", "1: sources[0].write_keys[0]: expected text: put it in quotes"),
        ("{name: a, write_keys: [k], signature: on}", "1: sources[0].signature: expected one of off, observe"),
    ],
)
def test_a_mistake_in_a_source_is_named(source: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems_of(f"sources: [{source}]", tmp_path)

    assert found.startswith(problem)


def test_a_write_key_names_one_source_only(tmp_path: Path) -> None:
    text = "sources:\n- {name: a, write_keys: [secret-k]}\n- {name: b, write_keys: [secret-k]}\n"

    assert problems_of(text, tmp_path) == [
        "3: sources[1].write_keys: holds a key of sources[0]; it can name one source"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: the file: expected a mapping of settings"),
        ("- a", "1: the file: expected a mapping of settings"),
        ("sources: []", "1: sources: expected at least one source"),
        ("destinations: []", "1: sources: is missing"),
        ("sources: [\n", " line 2: not YAML: "),
        ("a: 1\na: 2\n", " line 2: not YAML: "),
        ("events:\n  - !sms_sent\n", " line 2: a value that starts with ! is to stand in quotes"),
        ("events: [email_*, !*_drafted]\n", " line 2: not YAML: expected ',' or ']', but got '<stream end>'; a value"),
        ("5: 6\n", " line 1: the key 5 is not text"),
        ("a: &a [*a]\n", "1: a: unknown setting"),
        ("a: " + "[" * 60 + "]" * 60, " line 1: too many values, or nested too deeply"),
        ("a: " + "[" * 400, " line 1: not YAML: "),
        (
            "a: &a [x,x,x,x,x,x,x,x]\n"
            + "".join(f"{n}: &{n} [{','.join([f'*{m}'] * 8)}]\n" for m, n in zip("abcdef", "bcdefg", strict=True)),
            " line ",
        ),
        ("a: \t\x07", " not YAML: "),
    ],
)
def test_a_file_that_is_no_such_document_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    assert problems_of(text, tmp_path)[0].startswith(problem)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "connector.yaml").write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load_connections(load_settings({}, tmp_path))


def test_merged_yaml_keys_count(tmp_path: Path) -> None:
    text = f"{SOURCE}destinations:\n- &base {HOOK % ', timeout: 3'}\n- <<: *base\n  name: other\n"

    assert [d.timeout_seconds for d in load(text, tmp_path).destinations] == [3, 3]


def test_the_schema_knows_the_profiles_and_signature_modes_of_the_code() -> None:
    assert set(shapes.PROFILES) == set(PROFILES)
    assert tuple(SignatureMode) == shapes.SIGNATURE_MODES


# ── the environment alone ──


def test_without_a_file_the_environment_makes_one_source_and_one_destination(tmp_path: Path) -> None:
    environ = {"WRITE_KEY": "k", "DESTINATION_URL": "https://example.com", "DESTINATION_WRITE_KEY": "d"}

    connections = load_connections(load_settings(environ, tmp_path))

    assert [source.name for source in connections.sources] == ["production"]
    (destination,) = connections.destinations
    assert (destination.name, destination.type) == ("rudderstack", "rudderstack")
    assert destination.options["write_key"] == "d"


def test_with_a_write_key_alone_events_go_to_files_in_the_data_folder(tmp_path: Path) -> None:
    connections = load_connections(load_settings({"WRITE_KEY": "k"}, tmp_path))

    assert connections.destinations[0].type == "file"
    assert connections.destinations[0].options["path"] == str(tmp_path / "data" / "events")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "WRITE_KEY is not set: run `python -m connector init`"),
        ({"WRITE_KEY": "k", "DESTINATION_URL": "https://example.com"}, "DESTINATION_WRITE_KEY: is missing"),
        (
            {"WRITE_KEY": "k", "DESTINATION_URL": "example.com", "DESTINATION_WRITE_KEY": "d"},
            "DESTINATION_URL: expected an address",
        ),
        ({"WRITE_KEY": "k", "DESTINATION_TYPE": "htp"}, "DESTINATION_TYPE: expected a type of destination"),
        (
            {"WRITE_KEY": "k", "DESTINATION_TYPE": "file", "DESTINATION_URL": "https://example.com"},
            "DESTINATION_URL: a destination of type file does not take it",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(environ: dict[str, str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_connections(load_settings(environ, tmp_path))

    (found,) = caught.value.problems
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "environ",
    [
        {"WRITE_KEY": "k"},
        {
            "WRITE_KEY": "k",
            "SIGNING_KEY": "s",
            "DESTINATION_URL": "https://example.com/?a=${b}",
            "DESTINATION_WRITE_KEY": "d",
        },
        {"WRITE_KEY": "k", "DESTINATION_TYPE": "http", "DESTINATION_URL": "https://example.com"},
    ],
)
def test_the_yaml_written_from_the_environment_means_the_same(environ: dict[str, str], tmp_path: Path) -> None:
    settings = load_settings(environ, tmp_path)

    text = write_yaml_from_environment(settings)

    assert load(text, tmp_path, **environ) == load_connections(settings)


# ── taken up without a restart ──


def changed(path: Path, text: str) -> None:
    """Replaces the file as editors do, so that it is another one even within one tick of the disk's clock."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def test_a_changed_file_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "connector.yaml"
    path.write_text(SOURCE)
    live = LiveConnections(load_settings({}, tmp_path))
    before = live.current.fingerprint

    assert not live.refresh()
    changed(path, f"{SOURCE}destinations: [{HOOK % ''}]\n")
    assert live.refresh()

    assert len(live.current.destinations) == 1
    assert live.current.fingerprint != before
    assert not live.refresh()


def test_a_broken_file_is_refused_and_the_last_good_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "connector.yaml"
    path.write_text(SOURCE)
    live = LiveConnections(load_settings({}, tmp_path))
    before = live.current

    changed(path, "sources: nonsense\n")

    assert not live.refresh()
    assert live.current is before
    assert live.problem == f"{path}:1: sources: expected a list"

    changed(path, SOURCE)

    assert not live.refresh()  # nothing new took force
    assert live.problem is None


def test_a_file_that_is_gone_leaves_the_last_good_one_in_force(tmp_path: Path) -> None:
    path = tmp_path / "connector.yaml"
    path.write_text(SOURCE)
    live = LiveConnections(load_settings({}, tmp_path))

    path.unlink()

    assert not live.refresh()
    assert live.current.sources[0].name == "production"
    assert live.problem == f"{path}: cannot be read: No such file or directory"


def test_a_changed_secret_is_a_change(tmp_path: Path) -> None:
    one, other = (load("sources: [{name: a, write_keys: ['${K}']}]", tmp_path, K=key).fingerprint for key in "ab")

    assert one != other
    assert len(one) == 16


def test_without_a_file_there_is_nothing_to_refresh(tmp_path: Path) -> None:
    live = LiveConnections(load_settings({"WRITE_KEY": "k"}, tmp_path))

    assert not live.refresh()
    assert live.problem is None


def test_no_good_file_to_begin_with_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "connector.yaml").write_text("")

    with pytest.raises(SettingsError):
        LiveConnections(load_settings({}, tmp_path))


# ── warnings ──


@pytest.mark.parametrize(
    ("extra", "warning"),
    [
        ("actions: [{name: a}, {name: b}]", "actions 'a' and 'b' may take the same event"),
        ("actions: [{name: a, enabled: false}]", "none of its actions is enabled"),
        ("enabled: false", "no destination is enabled"),
        ("sources: []", "sources is [], it gets nothing but tests"),
        ("events: [opened]", "the pattern opened matches nothing"),
        ('events: ["emial_*"]', "the pattern emial_* matches no event that Customer.io documents"),
        ('events: ["!email_openned"]', "the pattern !email_openned matches no event"),
        ("enabled: true", "without a signing key, whoever knows its URL can send events"),
    ],
)
def test_what_is_probably_not_meant_draws_a_warning(extra: str, warning: str, tmp_path: Path) -> None:
    assert any(warning in found for found in warnings(load_hook(extra, tmp_path)))


def test_patterns_of_documented_events_draw_no_warning(tmp_path: Path) -> None:
    patterns = 'events: ["email_*", "*_subscribed", "sms_sen?", "!*_drafted"]'

    assert not any("the pattern" in found for found in warnings(load_hook(patterns, tmp_path)))


@pytest.mark.parametrize(
    "actions",
    [
        "[{name: a, distinct: true}, {name: b}]",
        "[{name: a}, {name: b, enabled: false}]",
        "[{name: a, where: \"metric == 'opened'\"}, {name: b, where: \"metric == 'clicked'\"}]",
    ],
)
def test_actions_that_do_not_get_in_each_others_way_draw_no_warning(actions: str, tmp_path: Path) -> None:
    assert not any("same event" in found for found in warnings(load_hook(f"actions: {actions}", tmp_path)))


def test_places_that_make_no_sense_draw_a_warning(tmp_path: Path) -> None:
    hook = "{name: %s, type: http, url: 'http://me.example.com/v1/webhook'}"
    text = f"sources: [{{name: a, write_keys: [short]}}]\ndestinations: [{hook % 'one'}, {hook % 'two'}]\n"

    found = "\n".join(warnings(load(text, tmp_path), public_url="https://me.example.com"))

    assert "events would go round in a circle" in found
    assert "would travel unencrypted" in found
    assert "'one' and 'two' go to the same place" in found
    assert "fewer than 16 characters" in found
    assert "short" not in found


def test_a_start_with_a_broken_file_falls_back_on_the_last_good_one_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "connector.yaml").write_text(SOURCE)
    good = LiveConnections(load_settings({"WRITE_KEY": "k"}, tmp_path)).current
    (tmp_path / "connector.yaml").write_text("sources: nonsense\n")

    live = LiveConnections(load_settings({"WRITE_KEY": "k"}, tmp_path))

    assert live.current == good
    assert live.problem is not None
    assert "sources" in live.problem


def test_the_copy_of_the_last_good_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "connector.yaml").write_text(SOURCE)

    LiveConnections(load_settings({"WRITE_KEY": "k"}, tmp_path))

    assert (tmp_path / "data" / "connector.last-good.yaml").stat().st_mode & 0o777 == 0o600
