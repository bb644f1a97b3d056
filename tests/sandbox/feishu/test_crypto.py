"""The platform's documentation and its official SDK agree with how we seal."""

from mainstay.sandbox.feishu.crypto import encrypt, sign

CHALLENGE = b'{"challenge":"ajls384kdj1234","token":"vtok_0123456789abcdefABCDEF","type":"url_verification"}'
SEALED = (
    "AAECAwQFBgcICQoLDA0OD/noQ9d6e50LkL6UDuOcIf0F09+qYGJ7oOYXevDSk36lp3A7B+lpiDHBZKofCPMt5U4dQiTNrQzTXN4DrTvCsLNa"
    "8HAq2zfWv17giHEFcvebxbZU87kzXtxHpzQoYq11Eg=="
)


def test_a_known_challenge_is_sealed_as_the_sdk_expects() -> None:
    assert encrypt("sandbox-encrypt-key-001", CHALLENGE, bytes(range(16))) == SEALED


def test_the_documented_vector_comes_out() -> None:
    import base64

    sealed = "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="
    assert encrypt("test key", b"hello world", base64.b64decode(sealed)[:16]) == sealed


def test_a_known_body_is_signed_as_documented() -> None:
    body = b'{"encrypt":"P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="}'
    expected = "7be4dad66ceafb3ec306fe13fc410c20ec52ae6386eb5ebf23c6526c9df218d0"
    assert sign("1700000000", "123456789", "test key", body) == expected
