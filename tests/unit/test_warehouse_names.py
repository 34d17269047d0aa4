"""Names of tables and columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.destinations.warehouse_names import MAX_NAME_BYTES, column_name, snake_case, table_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Email Opened", "email_opened"),
        ("emailSubject", "email_subject"),
        ("HTMLBody", "html_body"),
        ("userID", "user_id"),
        ("topic_1", "topic_1"),
        ("utm2Source", "utm2_source"),
        ("  a--b__c  ", "a_b_c"),
        ("SMS", "sms"),
        ("Имя Клиента", "имя_клиента"),
        ("ＡＢ", "ab"),
        ("$$", ""),
    ],
)
def test_words_are_parted_by_single_underscores(given: str, name: str) -> None:
    assert snake_case(given) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("context", "traits", "cioId"), "context_traits_cio_id"),
        (("order",), "_order"),
        (("7days",), "_7days"),
        (("xmin",), "_xmin"),
        (("plan",), "plan"),
    ],
)
def test_a_path_becomes_a_column(path: tuple[str, ...], name: str) -> None:
    assert column_name(path) == name


def test_long_names_that_begin_alike_stay_apart_and_the_same_for_ever() -> None:
    first, second = (column_name(("a" * 70 + end,)) for end in "12")

    assert first == "a" * 54 + "_" + "51c804f1"
    assert first != second


def test_names_without_a_letter_stay_apart() -> None:
    assert column_name(("$",)) != column_name(("%",))


@given(st.text())
def test_every_name_fits_and_is_no_less_a_name_than_before(text: str) -> None:
    name = table_name(text)

    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert name == name.lower() or not name.isascii()
    assert "__" not in name
