import pytest

from connector.encryption import decrypt, encrypt, generate_key, is_encrypted, rotate
from connector.errors import SettingsError

OLD, NEW = generate_key(), generate_key()


def test_what_is_encrypted_can_be_decrypted() -> None:
    value = encrypt("sécret #1", [OLD])

    assert is_encrypted(value)
    assert "cret" not in value
    assert decrypt(value, [OLD]) == "sécret #1"


def test_every_key_decrypts_and_the_first_encrypts() -> None:
    value = encrypt("secret", [OLD])

    rotated = rotate(value, [NEW, OLD])

    assert decrypt(value, [NEW, OLD]) == "secret"
    assert decrypt(rotated, [NEW]) == "secret"


@pytest.mark.parametrize("value", [encrypt("secret", [OLD]), "enc:", "enc:rubbish", "enc:\u00e9"])
def test_a_value_that_no_key_fits_is_refused_without_showing_it(value: str) -> None:
    for change in (decrypt, rotate):
        with pytest.raises(SettingsError, match=r"^no key in CONNECTOR_SECRET_KEY can decrypt it$"):
            change(value, [NEW])


@pytest.mark.parametrize("keys", [[], ["not a key"]])
def test_without_a_usable_key_nothing_works(keys: list[str]) -> None:
    with pytest.raises(SettingsError, match="CONNECTOR_SECRET_KEY"):
        encrypt("secret", keys)
