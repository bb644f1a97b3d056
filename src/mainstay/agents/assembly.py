"""Which agents does the configuration make?"""

from collections.abc import Callable, Mapping
from functools import cache, partial

import httpx2
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition

from mainstay.agents.attempt import ChatModel, ask
from mainstay.agents.machine import HAND_OVER, contradictions, in_tier
from mainstay.agents.mcp.server import McpServer
from mainstay.agents.model import AgentSettings, Tier
from mainstay.agents.segment import Agent, ModelCandidate
from mainstay.agents.standing import breaker_of
from mainstay.agents.tools import load_tool
from mainstay.errors import ConfigError
from mainstay.models.model import ModelSettings
from mainstay.models.openai import request_settings
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.bulkhead import Bulkhead
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.model import Limits
from mainstay.recovery.model import RecoverySettings
from mainstay.recovery.retries import RetryBudget

__all__ = ["MakeModel", "assemble"]

MakeModel = Callable[[str, ModelSettings, httpx2.AsyncClient], Model]


def assemble(
    agents: Mapping[str, AgentSettings],
    models: Mapping[str, ModelSettings],
    servers: Mapping[str, McpServer],
    *,
    http: httpx2.AsyncClient,
    root: str,
    make_model: MakeModel,
    recovery: RecoverySettings,
    breakers: Breakers,
    allow: tuple[str, ...],
    tier: Tier,
) -> dict[str, Agent]:
    """The root agent and its specialists, by name.

    Raises:
        ConfigError: naming everything that is missing or wrong.
    """
    prefixes = {name: server.settings.prefix_for(name) for name, server in servers.items()}
    problems = [f"{key}: {what}" for key, what in contradictions(agents, models, prefixes, root)]
    if problems:
        raise ConfigError(*problems)
    names = [root, *agents[root].specialists]
    chains = {name: in_tier(agents[name].models or agents[root].models, tier) for name in names}
    bulkheads: dict[str, Bulkhead] = {}
    budgets: dict[str, RetryBudget] = {}

    @cache
    def candidate(name: str) -> ModelCandidate:
        settings = models[name]
        chat = ChatModel(
            name=name,
            model=make_model(name, settings, http),
            settings=request_settings(settings),
            requires_finish_reason=settings.requires_finish_reason,
            streams=settings.stream,
            allow=allow,
        )
        return Candidate(
            name,
            partial(ask, chat),
            limits=_limits(settings),
            breaker=breaker_of(name, settings, breakers),
            bulkhead=bulkheads.setdefault(
                settings.identity, Bulkhead(f"model {name}", settings.max_concurrent, settings.max_waiting)
            ),
            retries=budgets.setdefault(settings.account, RetryBudget(recovery.retry_budget)),
            window=settings.context_window,
        )

    return {
        name: _agent(
            name,
            agents[name],
            candidates=tuple(candidate(model) for model in chains[name]),
            servers=tuple(servers[each] for each in agents[name].mcp),
            specialists={each: agents[each] for each in agents[root].specialists} if name == root else {},
        )
        for name in names
    }


def _agent(
    name: str,
    settings: AgentSettings,
    *,
    candidates: tuple[ModelCandidate, ...],
    servers: tuple[McpServer, ...],
    specialists: Mapping[str, AgentSettings],
) -> Agent:
    tools = [load_tool(spec, f"agents.{name}.tools") for spec in settings.tools]
    return Agent(
        name=name,
        settings=settings,
        candidates=candidates,
        tools={tool.name: tool for tool in tools},
        servers=servers,
        specialists={HAND_OVER + each: each for each in specialists},
        hand_over_tools=tuple(_hand_over_tool(each, specialists[each]) for each in specialists),
    )


def _hand_over_tool(name: str, settings: AgentSettings) -> ToolDefinition:
    good_at = settings.description or f"the specialist {name}"
    return ToolDefinition(
        name=HAND_OVER + name,
        description=f"Let this specialist answer the person instead of you: {good_at}",
        parameters_json_schema={
            "type": "object",
            "properties": {"reason": {"type": "string", "description": "Why, in a few words."}},
            "additionalProperties": False,
        },
    )


def _limits(settings: ModelSettings) -> Limits:
    """What comes in one piece has only one limit: its first token is also its last."""
    return Limits(
        first_token_s=settings.first_token_timeout if settings.stream else None,
        idle_s=settings.idle_timeout,
        total_s=settings.total_timeout,
    )
