"""How is an OpenAI-compatible endpoint reached?

The one place that builds a client. Retries of the SDK are off: there is one owner of retries, `mainstay.recovery`.
"""

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings as RequestSettings

from mainstay.errors import ConfigError
from mainstay.models.model import ModelSettings

__all__ = ["chat_model", "request_settings"]

_NO_TAG = ("\N{NULL}think", "\N{NULL}/think")
"""Tags that no stream holds: the library only finds those that are a whole chunk, so we look for them ourselves."""


def chat_model(name: str, settings: ModelSettings, http: httpx2.AsyncClient) -> Model:
    """The model of this configured name.

    Raises:
        ConfigError: without a base_url or a model.
    """
    problems = [
        f'models.{name}.{key} is missing: give it, or use provider = "sandbox"'
        for key in ("base_url", "model")
        if not getattr(settings, key)
    ]
    if problems:
        raise ConfigError(*problems)
    client = AsyncOpenAI(
        base_url=settings.base_url,
        api_key=settings.api_key.reveal() or "none",
        http_client=http,
        max_retries=0,
        timeout=httpx2.Timeout(settings.total_timeout, connect=settings.connect_timeout),
    )
    profile = OpenAIModelProfile(
        openai_chat_streaming_requires_finish_reason=settings.requires_finish_reason,
        openai_chat_supports_max_completion_tokens="api.openai.com" in settings.base_url,
        ignore_streamed_leading_whitespace=False,
        thinking_tags=_NO_TAG,
    )
    provider = OpenAICompatibleProvider(name, openai_client=client)
    return OpenAIChatModel(settings.model, provider=provider, profile=profile)


def request_settings(settings: ModelSettings) -> RequestSettings:
    """What is sent with every request; what is not configured is left to the endpoint."""
    request = RequestSettings()
    if settings.max_output_tokens is not None:
        request["max_tokens"] = settings.max_output_tokens
    if settings.temperature is not None:
        request["temperature"] = settings.temperature
    return request
