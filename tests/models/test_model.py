"""What may be written as a price, and what a model needs."""

from decimal import Decimal

import httpx2
import pytest

from mainstay.errors import ConfigError
from mainstay.models.model import ModelSettings, Price, parse_price
from mainstay.models.openai import chat_model, request_settings
from mainstay.settings import Secret

pytestmark = pytest.mark.anyio


def test_a_price_is_read_without_rounding() -> None:
    price = parse_price({"input": "0.1", "output": 3})
    assert price == Price(input=Decimal("0.1"), output=Decimal(3))
    assert parse_price(price) is price


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"input": "0.1"}, "written like"),
        ("0.1", "written like"),
        ({"input": 0.1, "output": "1"}, "not exact"),
        ({"input": "much", "output": "1"}, "input = 'much' is not an amount"),
        ({"input": "1", "output": "-1"}, "output = '-1' is not an amount"),
        ({"input": "1", "output": "inf"}, "is not an amount"),
        ({"input": True, "output": "1"}, "is not an amount"),
        ({"input": "0.0000001", "output": "1"}, "up to 6 decimals"),
        ({"input": "1e-30", "output": "1"}, "up to 6 decimals"),
        ({"input": "1", "output": "10000.01"}, "10000 at most"),
        ({"input": "1", "output": "1e999"}, "is not an amount"),
    ],
)
def test_what_is_no_price_is_refused_with_the_reason(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_price(value)


async def test_a_model_without_an_address_is_a_configuration_error_that_names_what_is_missing() -> None:
    async with httpx2.AsyncClient() as http:
        with pytest.raises(ConfigError) as caught:
            chat_model("primary", ModelSettings(), http)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "models.primary.base_url is missing",
        "models.primary.model is missing",
    ]


def test_a_key_is_not_shown() -> None:
    assert "hunter2" not in repr(ModelSettings(api_key=Secret("hunter2")))


def test_only_what_was_configured_is_sent() -> None:
    assert request_settings(ModelSettings()) == {}
    assert request_settings(ModelSettings(max_output_tokens=5, temperature=0.0)) == {
        "max_tokens": 5,
        "temperature": 0.0,
    }
