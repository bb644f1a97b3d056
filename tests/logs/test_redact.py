"""Secrets do not get past `redact`, and ordinary text does."""

import pytest

from mainstay.logs import redact as redact_module
from mainstay.logs.redact import redact, redact_fields, register


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Incorrect API key provided: sk-or-v1-0123456789abcdef.", "***"),
        ("Authorization: Bearer t-g1044qeGEDXTB6NDJOGV4JQCYDGHRBARFTGT1234", "***"),
        ("got Bearer abcdef123456 in a header", "got Bearer *** in a header"),
        ("token t-caecc734c2e3328a62489fe0648c4b98779515d3 expired", "token *** expired"),
        ("postgresql://bot:p@ss:w0rd@db.local:5432/x", "postgresql://bot:***@db.local:5432/x"),
        ("redis://:hunter22@cache:6379/0", "redis://:***@cache:6379/0"),
        ('{"app_id": "cli_a1", "app_secret": "s3cr3t, with comma"}', '{"app_id": "cli_a1", "app_secret": ***}'),
        (r"body: {\"app_secret\":\"abc123\",\"x\":1}", r"body: {\"app_secret\":***,\"x\":1}"),
        ("?api_key=abc123&page=2", "?api_key=***&page=2"),
        ("encrypt_key='a b c' next", "encrypt_key=*** next"),
        ("FEISHU_APP_SECRET=abc123 started", "FEISHU_APP_SECRET=*** started"),
        ("x-api-key: abcdef", "x-api-key: ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", "***"),
        ("POST /open-apis/bot/v2/hook/5f0e1c-aa failed", "POST /open-apis/bot/v2/hook/*** failed"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\nafter", "***\nafter"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, expected: str) -> None:
    masked = redact(text)
    assert expected in masked
    for leak in (
        "0123456789abcdef",
        "g1044",
        "caecc734",
        "w0rd",
        "hunter22",
        "s3cr3t",
        "abc123",
        "b c'",
        "dozjgN",
        "MIIEow",
    ):
        assert leak not in masked
    assert redact(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Manager answered in 1.23 s with 812 input_tokens=812",
        "turn 550e8400-e29b-41d4-a716-446655440000 of om_dc13264520392913993dd051dba21dcf",
        "first_token_timeout=20s",
        "models.primary.slow_first_token: must be more than 0",
        "http://127.0.0.1:3000/health",
        "a t-shirt-with-a-long-name for the team-12345678901234567890",
        "sk-8 is a road",
        "mail bot@example.com about 10:30",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_configured_secrets_are_masked_wherever_they_appear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact_module, "_known", None)
    monkeypatch.setattr(redact_module, "_values", frozenset())
    register(['Zq+9 /plain"word', "abc"])
    assert redact('before Zq+9 /plain"word after') == "before *** after"
    assert redact("q=Zq%2B9%20%2Fplain%22word") == "q=***"
    assert redact(r"Zq+9 /plain\"word") == "***"
    assert redact("abc is too short to be worth breaking words") == "abc is too short to be worth breaking words"


def test_a_secret_that_becomes_known_later_is_masked_in_names_that_were_seen_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redact_module, "_known", None)
    monkeypatch.setattr(redact_module, "_values", frozenset())
    assert redact_fields({"marmalade": 1}) == {"marmalade": 1}
    register(["marmalade"])
    assert redact_fields({"marmalade": 1}) == {"***": 1}


@pytest.mark.parametrize(
    "text", ["a" * 300_000, "://" * 100_000, "token" * 60_000, 'token="' + '\\\\"' * 90_000, "t-" * 100_000]
)
def test_hostile_text_takes_no_more_than_linear_work(text: str) -> None:
    # Quadratic work on these lengths takes minutes; pytest's own timeout is the judge.
    assert len(redact(text)) <= len(text)
