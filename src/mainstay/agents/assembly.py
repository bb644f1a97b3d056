"""Which agents does the configuration make?"""

from collections.abc import Callable, Mapping

import httpx2
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition

from mainstay.agents.attempt import ChatModel
from mainstay.agents.machine import contradictions
from mainstay.agents.model import AgentSettings
from mainstay.agents.segment import Agent
from mainstay.agents.tools import load_tool
from mainstay.errors import ConfigError
from mainstay.models.model import ModelSettings
from mainstay.models.openai import request_settings
from mainstay.recovery.model import Candidate, Limits

__all__ = ["MakeModel", "assemble"]

MakeModel = Callable[[str, ModelSettings, httpx2.AsyncClient], Model]

_HAND_OVER = "hand_over_to_"


def assemble(
    agents: Mapping[str, AgentSettings],
    models: Mapping[str, ModelSettings],
    *,
    http: httpx2.AsyncClient,
    root: str,
    make_model: MakeModel,
) -> dict[str, Agent]:
    """The root agent and its specialists, by name.

    Raises:
        ConfigError: naming everything that is missing or wrong.
    """
    problems = [f"{key}: {what}" for key, what in contradictions(agents, models, root)]
    if problems:
        raise ConfigError(*problems)
    names = [root, *agents[root].specialists]
    chains = {name: agents[name].models or agents[root].models for name in names}
    chats = {
        model: ChatModel(
            name=model,
            model=make_model(model, models[model], http),
            settings=request_settings(models[model]),
            requires_finish_reason=models[model].requires_finish_reason,
        )
        for model in dict.fromkeys(model for chain in chains.values() for model in chain)
    }
    return {
        name: _agent(
            name,
            agents[name],
            candidates=tuple(_candidate(model, models[model]) for model in chains[name]),
            chats=chats,
            specialists={each: agents[each] for each in agents[root].specialists} if name == root else {},
        )
        for name in names
    }


def _agent(
    name: str,
    settings: AgentSettings,
    *,
    candidates: tuple[Candidate, ...],
    chats: Mapping[str, ChatModel],
    specialists: Mapping[str, AgentSettings],
) -> Agent:
    tools = [load_tool(spec, f"agents.{name}.tools") for spec in settings.tools]
    return Agent(
        name=name,
        settings=settings,
        candidates=candidates,
        models=chats,
        tools={tool.name: tool for tool in tools},
        specialists={_HAND_OVER + each: each for each in specialists},
        hand_over_tools=tuple(_hand_over_tool(each, specialists[each]) for each in specialists),
    )


def _hand_over_tool(name: str, settings: AgentSettings) -> ToolDefinition:
    good_at = settings.description or f"the specialist {name}"
    return ToolDefinition(
        name=_HAND_OVER + name,
        description=f"Let this specialist answer the person instead of you: {good_at}",
        parameters_json_schema={
            "type": "object",
            "properties": {"reason": {"type": "string", "description": "Why, in a few words."}},
            "additionalProperties": False,
        },
    )


def _candidate(name: str, settings: ModelSettings) -> Candidate:
    limits = Limits(
        first_token_s=settings.first_token_timeout, idle_s=settings.idle_timeout, total_s=settings.total_timeout
    )
    return Candidate(name=name, limits=limits)
