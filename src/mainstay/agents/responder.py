"""How does a message become an answer?

Start reading here. `build` makes a `Responder` out of the configuration: the root agent (the Manager) answers, or
hands over to one of its specialists, by rule before any model is asked or because its model says so. A hand-over
ends the Manager's segment and begins the specialist's: there is never a stream within a stream. When the specialist
fails, the Manager answers instead, once, if that can help.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

import httpx2
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart

from mainstay.agents import machine
from mainstay.agents.assembly import MakeModel, assemble
from mainstay.agents.history import answer_calls, dump, history_of, load, repair, user_said
from mainstay.agents.mcp.server import McpServer
from mainstay.agents.mcp.tool import absent, offered, tried
from mainstay.agents.model import AgentSettings, Tier
from mainstay.agents.segment import Agent, Answered, Broke, End, HandsOver, Segment
from mainstay.agents.standing import agent_breaker
from mainstay.agents.suggestions import suggest
from mainstay.agents.tools import remember
from mainstay.agents.work import Surroundings, Work, up_to_date
from mainstay.bus import Bus
from mainstay.clock import Clock
from mainstay.errors import Category
from mainstay.events import AgentCalled, HandOver
from mainstay.messages import AnswerEvent, Finished, HandedOver, Message, Outcome, Responder, Status, Turn
from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.model import BudgetSettings
from mainstay.models.model import ModelSettings
from mainstay.models.openai import chat_model
from mainstay.recovery import notices
from mainstay.recovery.breaker.model import State
from mainstay.recovery.breaker.permits import BreakerOpen, Permit
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.bulkhead import Bulkheads, Busy
from mainstay.recovery.call.model import GaveUp
from mainstay.recovery.model import Failure, RecoverySettings, Traits, worth_another_try

__all__ = ["AgentResponder", "build"]

_LONGEST_REASON = 200
_NOT_THE_AGENT = frozenset(
    {
        Category.CANCELLED,
        Category.CONTENT_FILTER,
        Category.CONTEXT_LENGTH,
        Category.DATABASE,
        Category.INVALID_REQUEST,
    }
)
"""Failures that say nothing about the agent: another question would have been answered."""


def build(
    agents: Mapping[str, AgentSettings],
    models: Mapping[str, ModelSettings],
    *,
    bus: Bus,
    clock: Clock,
    http: httpx2.AsyncClient,
    servers: Mapping[str, McpServer] | None = None,
    recovery: RecoverySettings | None = None,
    breakers: Breakers | None = None,
    refresh: Callable[[], Awaitable[None]] | None = None,
    ledger: Ledger | None = None,
    tier: Tier = "auto",
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
        servers: the MCP servers that the agents name; whoever calls keeps them connected.
        recovery: what is done about a failed call.
        breakers: those of the process.
        refresh: see `mainstay.agents.work.Surroundings`.
        ledger: that of the process, of the same models; without it there are no budgets.
        tier: which part of each chain may be asked.
        root: the agent that gets every message, and under which turns are counted.
        make_model: how a model is reached.

    Raises:
        ConfigError: naming everything that is missing or wrong.
    """
    around = Surroundings(
        bus=bus,
        clock=clock,
        ledger=ledger or Ledger(BudgetSettings(), models, bus=bus, clock=clock),
        recovery=recovery or RecoverySettings(),
        breakers=breakers or Breakers(clock=clock),
        refresh=refresh or up_to_date,
    )
    made = assemble(
        agents,
        models,
        servers or {},
        http=http,
        root=root,
        make_model=make_model,
        recovery=around.recovery,
        breakers=around.breakers,
        allow=around.ledger.allow,
        tier=tier,
    )
    return AgentResponder(root, made, around)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What comes next in a turn: this agent, with these messages.

    Attributes:
        said: what the person is told about it first.
        parked: the Manager's messages, should it have to go on for this agent; None where they were lost in a
            crash and told of actions, which it would carry out once more.
        permit: of the agent's breaker.
    """

    agent: Agent
    new: list[ModelMessage]
    parked: list[ModelMessage] | None
    said: HandedOver | Status | None = None
    permit: Permit | None = None


class AgentResponder:
    """The Manager and its specialists; see `mainstay.messages.Responder`."""

    def __init__(self, root: str, agents: Mapping[str, Agent], around: Surroundings) -> None:
        self._root = agents[root]
        self._agents = agents
        self._around = around
        self._bus = around.bus
        self._clock = around.clock
        self._chats = Bulkheads(around.recovery.chat_places, around.recovery.chat_line)
        self._specialists = {name: agent_breaker(name, around.breakers) for name in agents if name != root}

    @property
    def name(self) -> str:
        """The root agent's."""
        return self._root.name

    async def respond(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        """See `mainstay.messages.Responder.respond`."""
        work = Work(message, turn, self._around)
        try:
            await self._chats.enter(message.chat, "chat", work.left_s / 2)
        except Busy as busy:
            gave_up = GaveUp(failure=Failure(category=Category.OVERLOADED, message=str(busy)), why="busy")
            yield self._failed(work, self._root, gave_up, user_said(message.prompt))
            return
        try:
            async with aclosing(self._answer(work)) as events:
                async for event in events:
                    yield event
        finally:
            self._chats.leave(message.chat)

    async def suggest(self, message: Message, answer: str) -> tuple[str, ...]:
        """See `mainstay.messages.Suggester.suggest`."""
        return await suggest(self._root, self._around, message, answer)

    async def _answer(self, work: Work) -> AsyncGenerator[AnswerEvent, None]:
        history = history_of(work.turn.history)
        step = self._begin(work)
        try:
            if work.recorded and isinstance(step, _Plan):
                await tried(step.agent.servers, work.left_s)
            while isinstance(step, _Plan):
                if step.said is not None:
                    yield step.said
                segment = self._segment(step, work, history)
                started, end = self._clock.monotonic(), None
                async with aclosing(segment.run()) as events:
                    async for event in events:
                        if isinstance(event, Answered | HandsOver | Broke):
                            end = event
                        else:
                            yield event
                assert end is not None
                _settle(step.permit, end)
                self._count(step.agent, work, started, end)
                step = self._after(step, work, segment.new, end)
            yield step
        finally:
            if isinstance(step, _Plan):
                _settle(step.permit, None)

    def _begin(self, work: Work) -> _Plan | Finished:
        """Where this attempt starts: at the last checkpoint of an earlier one, or by the rules."""
        fresh = user_said(work.message.prompt)
        for last in work.turn.steps.recorded[-1:]:
            agent, new = self._agents.get(last.agent), load(last.checkpoint)
            if agent is not None and new is not None:
                return _Plan(agent=agent, new=new, parked=None if self._root.name in work.acted else fresh)
            if work.acted:  # starting over could do everything twice
                failure = Failure(category=Category.INTERNAL, message="the checkpoint cannot be read")
                return self._failed(work, self._root, GaveUp(failure=failure), fresh)
        route = self._route(work.message.text)
        if route.to is None:
            return _Plan(agent=self._available_root(work), new=fresh, parked=fresh)
        handed_over = HandedOver(
            from_agent=self._root.name,
            to_agent=route.to,
            strategy="rule",
            score=route.score,
            reason=route.reason,
            alternatives=route.alternatives,
        )
        return self._hand_over(work, handed_over, parked=fresh)

    def _after(self, plan: _Plan, work: Work, new: list[ModelMessage], end: End) -> _Plan | Finished:
        """What follows a segment."""
        match end:
            case Answered():
                return self._answered(work, plan.agent, end, new)
            case HandsOver(to=to, reason=reason):
                handed_over = HandedOver(
                    from_agent=plan.agent.name, to_agent=to, strategy="model", reason=reason[:_LONGEST_REASON]
                )
                return self._hand_over(work, handed_over, parked=new)
            case Broke(gave_up):
                return self._instead(plan, work, gave_up.failure) or self._failed(work, plan.agent, gave_up, new)

    def _hand_over(self, work: Work, handed_over: HandedOver, *, parked: list[ModelMessage]) -> _Plan:
        """The specialist; the Manager without it, while it is left alone."""
        specialist = handed_over.to_agent
        try:
            permit = self._specialists[specialist].permit()
        except BreakerOpen:
            work.refused.add(specialist)
            return _Plan(
                agent=self._available_root(work),
                new=answer_calls(parked, _not_available(specialist)),
                parked=parked,
                said=Status(notices.manager_instead(work.language)),
            )
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
        new = user_said(work.message.prompt)
        return _Plan(agent=self._agents[specialist], new=new, parked=parked, said=handed_over, permit=permit)

    def _available_root(self, work: Work) -> Agent:
        """The root agent, which can not hand over to a specialist that is left alone."""
        left_alone = {name for name, each in self._specialists.items() if each.state is State.OPEN}
        return self._root.without(left_alone | work.refused)

    def _instead(self, plan: _Plan, work: Work, failure: Failure) -> _Plan | None:
        """The Manager in the place of a failed specialist, if that can help."""
        specialist = plan.agent.name
        left = machine.usable_models([candidate.name for candidate in self._root.candidates], work.failed)
        if (
            specialist == self._root.name
            or plan.parked is None
            or not machine.may_answer_instead(
                failure.category, models_left=left, had_effects=specialist in work.acted
            )
        ):
            return None
        return _Plan(
            agent=self._root.alone(left),
            new=answer_calls(plan.parked, _not_available(specialist)),
            parked=plan.parked,
            said=Status(notices.manager_instead(work.language)),
        )

    def _route(self, text: str) -> machine.Route:
        rules = {name: self._agents[name].settings.match for name in self._root.settings.specialists}
        return machine.route(text, rules, self._root.settings.match_threshold)

    def _segment(self, plan: _Plan, work: Work, history: list[ModelMessage]) -> Segment:
        settings, tools = plan.agent.settings, offered(plan.agent.servers, plan.agent.tools)
        instructions = settings.instructions + absent(plan.agent.servers)
        if settings.person_memory:
            tool = remember(work.turn.notebook)
            tools[tool.name] = tool
            notes = "\n".join(f"- {note}" for note in work.turn.notebook.notes)
            if notes:
                instructions = f"{instructions}\n\nWhat you have remembered about this person:\n{notes}".strip()
        return Segment(plan.agent, work, history=history, new=plan.new, instructions=instructions, tools=tools)

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

    def _failed(self, work: Work, agent: Agent, gave_up: GaveUp, new: list[ModelMessage]) -> Finished:
        kept = repair(new)
        if work.screen.shown:
            kept.append(ModelResponse(parts=[TextPart(work.screen.shown)]))
        return Finished(
            outcome=Outcome.FAILED,
            text=work.screen.shown,
            notice=_notice(gave_up, work),
            category=gave_up.failure.category,
            retryable=worth_another_try(gave_up.failure.category),
            agent=agent.name,
            hops=tuple(work.hops),
            usage=work.book.usage(),
            record=dump(kept),
        )


def _not_available(specialist: str) -> str:
    return f"The specialist {specialist} is not available now. Answer without it."


def _notice(gave_up: GaveUp, work: Work) -> str:
    match gave_up.why:
        case "busy":
            return notices.crowded(work.language)
        case "forbidden":
            return notices.over_budget(work.language)
        case "failed" | "left_alone" | "late":
            return notices.failed(
                gave_up.failure.category, work.language, had_effects=bool(work.acted), wait_s=gave_up.wait_s
            )


def _settle(permit: Permit | None, end: End | None) -> None:
    """Tell a specialist's breaker how it went; what its models were not even asked for says nothing about it."""
    if permit is None:
        return
    match end:
        case Answered() | HandsOver():
            permit.succeed()
        case Broke(GaveUp(failure=failure, why="failed")):
            counts = failure.category not in _NOT_THE_AGENT
            permit.fail(replace(failure, special=Traits(fallback=True, retries=0, counts=counts)))
        case Broke() | None:
            permit.ignore()
