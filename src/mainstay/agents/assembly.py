"""Which agents does the configuration make?"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping

import httpx2
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition

from mainstay.agents.attempt import ChatModel
from mainstay.agents.model import AgentSettings
from mainstay.agents.segment import Agent
from mainstay.agents.tools import load_tool
from mainstay.errors import ConfigError
from mainstay.models.model import ModelSettings
from mainstay.models.openai import request_settings
from mainstay.recovery.model import Candidate, Limits

__all__ = ["MakeModel", "assemble"]

MakeModel = Callable[[str, ModelSettings, httpx2.AsyncClient], Model]

_SPECIALIST_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}")  # becomes part of a tool's name, and APIs take no more
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
    problems = list(_problems(agents, models, root))
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


def _problems(agents: Mapping[str, AgentSettings], models: Mapping[str, ModelSettings], root: str) -> Iterator[str]:
    if root not in agents:
        yield f"agents.{root} is missing: it is the agent that gets every message"
        return
    if not agents[root].models:
        yield f'agents.{root}.models is empty: name at least one model, like models = ["primary"]'
    for name in agents[root].specialists:
        if name not in agents:
            yield f"agents.{root}.specialists: there is no agent {name!r}{_near(name, agents)}"
        elif not _SPECIALIST_NAME.fullmatch(name):
            yield f"agents.{name}: a specialist's name may have letters, digits, _ and - only, at most 48 of them"
        elif name == root:
            yield f"agents.{root}.specialists: the agent can not be its own specialist"
    for name in (root, *(each for each in agents[root].specialists if each in agents)):
        for model in agents[name].models:
            if model not in models:
                yield f"agents.{name}.models: there is no model {model!r}{_near(model, models)}"


def _near(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f": there are {', '.join(sorted(known)) or 'none'}"
