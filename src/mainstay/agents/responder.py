"""How does a message become an answer?

Start reading here. `build` makes a `Responder` out of the configuration: the root agent (the Manager) answers, or
hands over to one of its specialists, by rule before any model is asked or because its model says so. A hand-over
ends the Manager's segment and begins the specialist's: there is never a stream within a stream. When the specialist
fails, the Manager answers instead, once, if that can help.
"""

import difflib
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import httpx2
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition

from mainstay.agents import machine
from mainstay.agents.attempt import ChatModel
from mainstay.agents.history import answer_calls, dump, history_of, load, repair, user_said
from mainstay.agents.model import AgentSettings
from mainstay.agents.segment import Agent, Answered, Broke, End, HandsOver, Segment
from mainstay.agents.tools import load_tool, remember
from mainstay.agents.work import Work
from mainstay.bus import Bus
from mainstay.clock import Clock
from mainstay.errors import Category, ConfigError
from mainstay.events import AgentCalled, HandOver
from mainstay.messages import AnswerEvent, Finished, HandedOver, Message, Outcome, Responder, Status, Turn
from mainstay.models.model import ModelSettings, Price
from mainstay.models.openai import chat_model, request_settings
from mainstay.recovery import notices
from mainstay.recovery.model import Candidate, Failure, Limits

__all__ = ["AgentResponder", "build"]

MakeModel = Callable[[str, ModelSettings, httpx2.AsyncClient], Model]

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}")
_HAND_OVER = "hand_over_to_"


def build(
    agents: Mapping[str, AgentSettings],
    models: Mapping[str, ModelSettings],
    *,
    bus: Bus,
    clock: Clock,
    http: httpx2.AsyncClient,
    root: str = "manager",
    make_model: MakeModel = chat_model,
) -> Responder:
    """The responder of these agents.

    Args:
        agents: by name; only the root and its specialists are used.
        models: by name; only those that the agents name are used.
        bus: hears of attempts, hops, hand-overs, tools and specialists.
        clock: for limits and durations.
        http: the client that all models share; the caller closes it.
        root: the agent that gets every message, and under which turns are counted.
        make_model: how a model is reached.

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
    made = {
        name: _agent(
            name, agents, tuple(_candidate(model, models[model]) for model in chains[name]), chats, name == root
        )
        for name in names
    }
    return AgentResponder(root, made, {name: settings.price for name, settings in models.items()}, bus, clock)


@dataclass(slots=True)
class _Plan:
    """What comes next in a turn: this agent, with these messages."""

    agent: Agent
    new: list[ModelMessage]


class AgentResponder:
    """The Manager and its specialists; see `mainstay.messages.Responder`."""

    def __init__(
        self, root: str, agents: Mapping[str, Agent], prices: Mapping[str, Price | None], bus: Bus, clock: Clock
    ) -> None:
        self._root = agents[root]
        self._agents = agents
        self._prices = prices
        self._bus = bus
        self._clock = clock

    @property
    def name(self) -> str:
        """The root agent's."""
        return self._root.name

    async def respond(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        """See `mainstay.messages.Responder.respond`."""
        work = Work(message, turn, self._prices, self._bus, self._clock)
        history = history_of(turn.history)
        plan, handed_over = self._begin(work)
        if plan is None:
            yield self._failed(
                work, Failure(category=Category.INTERNAL, message="the checkpoint is unreadable"), []
            )
            return
        if handed_over is not None:
            yield self._tell(work, handed_over)
        parked = user_said(message.text)
        while True:
            segment = self._segment(plan, work, history)
            started, end = self._clock.monotonic(), None
            async with aclosing(segment.run()) as events:
                async for event in events:
                    if isinstance(event, Answered | HandsOver | Broke):
                        end = event
                    else:
                        yield event
            assert end is not None
            self._count(plan.agent, work, started, end)
            match end:
                case Answered():
                    yield self._answered(work, plan.agent, end, segment.new)
                    return
                case HandsOver(to=to, reason=reason):
                    parked = segment.new
                    plan = _Plan(self._agents[to], user_said(message.text))
                    yield self._tell(
                        work,
                        HandedOver(from_agent=self._root.name, to_agent=to, strategy="model", reason=reason[:200]),
                    )
                case Broke(failure):
                    instead = self._instead(plan.agent, work, failure, parked)
                    if instead is None:
                        yield self._failed(work, failure, segment.new, agent=plan.agent.name)
                        return
                    plan = instead
                    yield Status(notices.manager_instead(work.language))

    def _begin(self, work: Work) -> tuple[_Plan | None, HandedOver | None]:
        """Where this attempt starts: at the last checkpoint of an earlier one, or by the rules."""
        steps = work.turn.steps.recorded
        if steps:
            last = steps[-1]
            agent, new = self._agents.get(last.agent), load(last.checkpoint)
            if agent is not None and new is not None:
                return _Plan(agent, new), None
            if work.effects:
                return None, None
        fresh = user_said(work.message.text)
        route = self._route(work.message.text)
        if route.to is None:
            return _Plan(self._root, fresh), None
        handed_over = HandedOver(
            from_agent=self._root.name,
            to_agent=route.to,
            strategy="rule",
            score=route.score,
            reason=route.reason,
            alternatives=route.alternatives,
        )
        return _Plan(self._agents[route.to], fresh), handed_over

    def _route(self, text: str) -> machine.Route:
        rules = {name: self._agents[name].settings.match for name in self._root.settings.specialists}
        return machine.route(text, rules, self._root.settings.match_threshold)

    def _instead(self, agent: Agent, work: Work, failure: Failure, parked: list[ModelMessage]) -> _Plan | None:
        """The Manager in the place of a failed specialist, if that can help."""
        left = machine.usable_models([candidate.name for candidate in self._root.candidates], work.failed)
        if agent.name == self._root.name or not machine.may_answer_instead(
            failure, models_left=left, had_effects=bool(work.effects)
        ):
            return None
        told = f"{agent.name} is not available now. Answer without it."
        return _Plan(self._root.alone(left), answer_calls(parked, told))

    def _segment(self, plan: _Plan, work: Work, history: list[ModelMessage]) -> Segment:
        settings, tools = plan.agent.settings, dict(plan.agent.tools)
        instructions = settings.instructions
        if settings.person_memory:
            tool = remember(work.turn.notebook)
            tools[tool.name] = tool
            notes = "\n".join(f"- {note}" for note in work.turn.notebook.notes)
            if notes:
                instructions = f"{instructions}\n\nWhat you have remembered about this person:\n{notes}".strip()
        return Segment(plan.agent, work, history=history, new=plan.new, instructions=instructions, tools=tools)

    def _tell(self, work: Work, handed_over: HandedOver) -> HandedOver:
        self._bus.emit(
            HandOver(
                turn_id=work.turn.turn_id,
                from_agent=handed_over.from_agent,
                to_agent=handed_over.to_agent,
                strategy=handed_over.strategy,
                score=handed_over.score,
                reason=handed_over.reason,
                alternatives=handed_over.alternatives,
            )
        )
        return handed_over

    def _count(self, agent: Agent, work: Work, started: float, end: End) -> None:
        """Specialists are counted here; the root agent's calls are the turns."""
        if agent.name != self._root.name:
            self._bus.emit(
                AgentCalled(
                    turn_id=work.turn.turn_id,
                    agent=agent.name,
                    latency_s=self._clock.monotonic() - started,
                    success=isinstance(end, Answered),
                )
            )

    def _answered(self, work: Work, agent: Agent, end: Answered, new: list[ModelMessage]) -> Finished:
        return Finished(
            outcome=Outcome.ANSWERED,
            text=end.text,
            notice=notices.answered(work.language, cut=end.cut, unsure=bool(work.unsure)),
            agent=agent.name,
            model=end.model,
            hops=tuple(work.hops),
            usage=work.book.usage(),
            record=dump(repair(new)),
        )

    def _failed(self, work: Work, failure: Failure, new: list[ModelMessage], *, agent: str = "") -> Finished:
        kept = repair(new) or user_said(work.message.text)
        if work.screen.shown:
            kept.append(ModelResponse(parts=[TextPart(work.screen.shown)]))
        return Finished(
            outcome=Outcome.FAILED,
            text=work.screen.shown,
            notice=notices.failed(failure.category, work.language, had_effects=bool(work.effects)),
            category=failure.category,
            agent=agent or self._root.name,
            hops=tuple(work.hops),
            usage=work.book.usage(),
            record=dump(kept),
        )


def _agent(
    name: str,
    agents: Mapping[str, AgentSettings],
    candidates: tuple[Candidate, ...],
    chats: Mapping[str, ChatModel],
    is_root: bool,  # noqa: FBT001
) -> Agent:
    settings = agents[name]
    tools = {tool.name: tool for tool in (load_tool(spec, f"agents.{name}.tools") for spec in settings.tools)}
    specialists = settings.specialists if is_root else ()
    return Agent(
        name=name,
        settings=settings,
        candidates=candidates,
        models=chats,
        tools=tools,
        specialists={_HAND_OVER + each: each for each in specialists},
        hand_over_tools=tuple(_hand_over_tool(each, agents[each]) for each in specialists),
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
        elif not _TOOL_NAME.fullmatch(name):
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
