"""The platform's own examples, and what is not one of them."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.channels.feishu.crypto import decrypt, same, signature

CHALLENGE = (
    "AAECAwQFBgcICQoLDA0OD/noQ9d6e50LkL6UDuOcIf0F09+qYGJ7oOYXevDSk36lp3A7B+lpiDHBZKofCPMt5U4dQiTNrQzTXN4DrTvCsLNa8HAq2zfWv17giHEF"
    "cvebxbZU87kzXtxHpzQoYq11Eg=="
)


def test_the_documented_text_is_decrypted():
    assert decrypt("test key", "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=") == b"hello world"


def test_an_encrypted_challenge_is_decrypted():
    assert decrypt("sandbox-encrypt-key-001", CHALLENGE) == (
        b'{"challenge":"ajls384kdj1234","token":"vtok_0123456789abcdefABCDEF","type":"url_verification"}'
    )


def test_the_documented_signature_is_reached():
    body = b'{"encrypt":"P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="}'
    expected = "7be4dad66ceafb3ec306fe13fc410c20ec52ae6386eb5ebf23c6526c9df218d0"
    assert signature("1700000000", "123456789", "test key", body) == expected


@pytest.mark.parametrize(
    "encrypted",
    ["", "AAAA", "not base64!", "====", CHALLENGE[:-8], base64.b64encode(bytes(16)).decode(), "好的"],
)
def test_what_is_not_encrypted_is_refused_without_saying_why(encrypted):
    with pytest.raises(ValueError, match=r"^the body can not be decrypted$"):
        decrypt("test key", encrypted)


@given(st.binary(max_size=200))
def test_no_bytes_break_decryption(data):
    with suppress(ValueError):
        assert isinstance(decrypt("test key", base64.b64encode(data).decode()), bytes)


@pytest.mark.parametrize("given_text", ["", "a", "a" * 1000, "é", "\udcff"])
def test_any_two_texts_can_be_compared(given_text):
    assert not same(given_text, "secret")
    assert same("secret", "secret")
