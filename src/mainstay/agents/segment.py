"""How does one agent work on a message, until it answers, hands over, or fails?

The models are asked and the tools run in turns. The messages are the whole state: when they end in calls without a
result, the tools are next, otherwise a model is. So an interrupted segment goes on from its last checkpoint by the
same loop, and a fallback model goes on with the results of the tools that ran.
"""

import logging
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from mainstay.agents.history import INTERRUPTED, dump, open_calls
from mainstay.agents.mcp.server import McpServer
from mainstay.agents.model import AgentSettings
from mainstay.agents.tools import AgentTool, Run, ToolResult, ToolUnavailable
from mainstay.agents.work import Work
from mainstay.errors import Category
from mainstay.events import AttemptFailed, ModelHop, ToolRan
from mainstay.messages import AnswerEvent, ModelAsked, Status, Step, ToolFinished, ToolStarted
from mainstay.models.budget.account import Account
from mainstay.models.budget.model import Reached
from mainstay.models.cost import Meter
from mainstay.models.estimate import input_tokens
from mainstay.recovery import notices
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.fallback import Fallback
from mainstay.recovery.call.model import Began, CallEvent, Done, GaveUp, Hopped, Item, Lost, Piece, Waiting
from mainstay.recovery.deadline import until
from mainstay.recovery.model import Failure
from mainstay.units import format_dollars

__all__ = ["Agent", "Answered", "Broke", "End", "HandsOver", "ModelCandidate", "Segment"]

_log = logging.getLogger(__name__)

ModelCandidate = Candidate[[Sequence[ModelMessage], ModelRequestParameters, Meter], Piece[str, ModelResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A configured agent, ready to work.

    Attributes:
        candidates: its fallback chain.
        servers: the MCP servers whose tools it may call as well.
        specialists: by the names of the tools that hand over to them.
    """

    name: str
    settings: AgentSettings
    candidates: tuple[ModelCandidate, ...]
    tools: Mapping[str, AgentTool]
    servers: tuple[McpServer, ...]
    specialists: Mapping[str, str]
    hand_over_tools: tuple[ToolDefinition, ...]

    def alone(self, models: Sequence[str]) -> "Agent":
        """The same agent with these models only, and without specialists."""
        left = tuple(candidate for candidate in self.candidates if candidate.name in models)
        return replace(self, candidates=left, specialists={}, hand_over_tools=())

    def without(self, specialists: Collection[str]) -> "Agent":
        """The same agent, who can not hand over to these."""
        if not specialists:
            return self
        tools = {tool: name for tool, name in self.specialists.items() if name not in specialists}
        left = tuple(tool for tool in self.hand_over_tools if tool.name in tools)
        return replace(self, specialists=tools, hand_over_tools=left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The agent has answered; ``cut`` if the answer reached its greatest length."""

    text: str
    model: str
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HandsOver:
    """The agent's model wants a specialist to answer; the call that said so is left open."""

    to: str
    reason: str


@dataclass(frozen=True, slots=True)
class Broke:
    """No model could answer."""

    gave_up: GaveUp


End = Answered | HandsOver | Broke


class Segment:
    """One agent's part of one turn.

    Attributes:
        messages: the history, then this turn's; grows while the segment runs.
    """

    def __init__(
        self,
        agent: Agent,
        work: Work,
        *,
        history: Sequence[ModelMessage],
        new: Sequence[ModelMessage],
        instructions: str,
        tools: Mapping[str, AgentTool],
    ) -> None:
        self._agent = agent
        self._work = work
        self._instructions = instructions
        self._tools = tools
        self._start = len(history)
        self.messages: list[ModelMessage] = [*history, *new]
        for call in open_calls(new):
            work.know_call(call.tool_call_id)

    @property
    def new(self) -> list[ModelMessage]:
        """This turn's messages."""
        return self.messages[self._start :]

    async def run(self) -> AsyncGenerator[AnswerEvent | End, None]:
        """Yield the answer as it comes, then exactly one `End`."""
        for _ in range(self._agent.settings.max_steps):
            calls = open_calls(self.messages)
            if hand_over := self._hand_over(calls):
                yield hand_over
                return
            if calls:
                async with aclosing(self._run_tools(calls)) as running:
                    async for shown in running:
                        yield shown
            async with aclosing(self._ask()) as asking:
                async for event in asking:
                    yield event
                    if isinstance(event, Answered | Broke):
                        return
        too_many = f"no answer after {self._agent.settings.max_steps} steps"
        yield Broke(GaveUp(failure=Failure(category=Category.MALFORMED, message=too_many)))

    async def _ask(self) -> AsyncGenerator[AnswerEvent | Answered | Broke, None]:
        """Ask the chain once; ends with an answer, a failure, or calls at the end of the messages."""
        work, messages, parameters = self._work, self._with_instructions(), self._parameters()
        work.screen.new_stream()
        await work.refresh()
        await work.ledger.refresh(work.message.chat)
        async with aclosing(self._call(messages, parameters)) as events:
            async for event in events:
                match event:
                    case Began(model):
                        yield ModelAsked(agent=self._agent.name, model=model)
                    case Item(text):
                        yield work.screen.put(text)
                    case GaveUp():
                        yield Broke(event)
                    case Done(response, model):
                        response = self._with_unique_calls(response)
                        self.messages.append(response)
                        if not response.tool_calls:
                            cut = response.finish_reason == "length"
                            yield Answered(text=work.screen.shown, model=model, cut=cut)
                    case _:
                        for status in self._trouble(event):
                            yield status

    async def _call(
        self, messages: Sequence[ModelMessage], parameters: ModelRequestParameters
    ) -> AsyncGenerator[CallEvent[str, ModelResponse], None]:
        """One call along the chain, within the budget; what it consumed is entered however it ends."""
        work = self._work
        chain = Fallback(self._agent.candidates, settings=work.settings, clock=work.clock)
        account = Account(
            work.ledger, work.turn.turn_id, work.message.chat, lambda: input_tokens(messages, parameters), work.book
        )

        def begin(candidate: Candidate[..., Any]) -> AsyncGenerator[Piece[str, ModelResponse], None]:
            return cast("AsyncGenerator[Any, None]", candidate.call(messages, parameters, account.begin()))

        def refuse(model: str) -> Failure | None:
            reached = account.refuse(model)
            return None if reached is None else _over_budget(reached)

        with account:
            async with aclosing(chain.run(begin, deadline=work.turn.deadline, refuse=refuse)) as events:
                async for event in events:
                    yield event

    def _trouble(self, event: Lost | Hopped | Waiting) -> Iterator[Status]:
        """What is written down about an attempt that failed, and what the person is told meanwhile."""
        work = self._work
        match event:
            case Lost():
                self._lost(event)
            case Hopped(hop):
                work.hops.append(hop)
                work.screen.new_stream()
                work.bus.emit(_model_hop(self._agent.name, work.turn.turn_id, event))
                if hop.shown_chars:
                    same = hop.from_model == hop.to_model
                    yield Status(notices.continuing(work.language, same_model=same))
            case Waiting(seconds=seconds):
                yield Status(notices.waiting(work.language, seconds))

    async def _run_tools(self, calls: Sequence[ToolCallPart]) -> AsyncGenerator[AnswerEvent, None]:
        """Run them one after another: the checkpoint of each is then all that is needed to go on."""
        results: list[ToolReturnPart] = []
        for call in calls:
            yield ToolStarted(call_id=call.tool_call_id, tool=call.tool_name)
            result = await self._result(call)
            results.append(
                ToolReturnPart(
                    call.tool_name, result.text, call.tool_call_id, outcome="success" if result.ok else "failed"
                )
            )
            yield ToolFinished(call_id=call.tool_call_id, tool=call.tool_name, ok=result.ok)
        self.messages.append(ModelRequest(parts=results))

    async def _result(self, call: ToolCallPart) -> ToolResult:
        """The result of a call: the one that was stored, or that of running it now."""
        step = self._work.recorded.get(call.tool_call_id)
        if step is not None and step.state != "intended":
            return ToolResult(step.result, ok=step.state == "finished")
        if step is not None and step.effects:
            self._work.unsure.append(step.tool)
            return ToolResult(INTERRUPTED, ok=False)
        tool = self._tools.get(call.tool_name)
        if tool is None:
            return ToolResult(f"There is no tool named {call.tool_name} now.", ok=False)
        try:
            arguments = call.args_as_dict(raise_if_invalid=True)
        except (ValueError, AssertionError):
            return ToolResult("The arguments are not a JSON object.", ok=False)
        if self._work.left_s <= 0:
            return ToolResult("There is no time left: it was not run.", ok=False)
        try:
            with tool.admit() as run:
                if step is None:
                    await self._intend(call, tool)
                return await self._run(call, run, arguments)
        except ToolUnavailable as unavailable:
            return ToolResult(str(unavailable), ok=False)

    async def _intend(self, call: ToolCallPart, tool: AgentTool) -> None:
        step = Step(
            step_id=call.tool_call_id,
            agent=self._agent.name,
            tool=call.tool_name,
            arguments=call.args_as_json_str(),
            effects=tool.effects,
            checkpoint=dump(self.new),
        )
        await self._work.turn.steps.intend(step)
        if tool.effects:
            self._work.acted.add(self._agent.name)

    async def _run(self, call: ToolCallPart, run: Run, arguments: Mapping[str, object]) -> ToolResult:
        work = self._work
        started = work.clock.monotonic()
        limit_s = max(0.0, min(self._agent.settings.tool_timeout, work.left_s))
        with until(work.turn.deadline):
            result = await run(arguments, limit_s)
        work.bus.emit(
            ToolRan(
                turn_id=work.turn.turn_id,
                agent=self._agent.name,
                tool=call.tool_name,
                duration_s=work.clock.monotonic() - started,
                success=result.ok,
            )
        )
        await work.turn.steps.record(call.tool_call_id, result.text, ok=result.ok)
        return result

    def _hand_over(self, calls: Sequence[ToolCallPart]) -> HandsOver | None:
        """The first call that hands over, if any; what was called beside it is not run."""
        for call in calls:
            if call.tool_name in self._agent.specialists:
                reason = str(call.args_as_dict().get("reason", ""))
                return HandsOver(to=self._agent.specialists[call.tool_name], reason=reason)
        return None

    def _lost(self, lost: Lost) -> None:
        self._work.failed[lost.candidate] = lost.failure.category
        if lost.failure.category is Category.CANCELLED:
            return
        if lost.failure.category is Category.INTERNAL:
            _log.error("asking %s raised an error that no rule knows", lost.candidate, exc_info=lost.error)
        self._work.bus.emit(
            AttemptFailed(
                turn_id=self._work.turn.turn_id,
                agent=self._agent.name,
                model=lost.candidate,
                category=lost.failure.category,
                message=lost.failure.message,
                shown_chars=lost.shown,
                elapsed_s=lost.elapsed_s,
                retry_after_s=lost.failure.retry_after_s,
                nonsense=lost.failure.nonsense,
            )
        )

    def _parameters(self) -> ModelRequestParameters:
        definitions = [tool.definition for tool in self._tools.values()]
        return ModelRequestParameters(function_tools=[*definitions, *self._agent.hand_over_tools])

    def _with_instructions(self) -> list[ModelMessage]:
        *earlier, last = self.messages
        assert isinstance(last, ModelRequest)
        return [*earlier, replace(last, instructions=self._instructions or None)]

    def _with_unique_calls(self, response: ModelResponse) -> ModelResponse:
        parts = [
            replace(part, tool_call_id=self._work.unique_call_id(part.tool_call_id))
            if isinstance(part, ToolCallPart)
            else part
            for part in response.parts
        ]
        return replace(response, parts=parts)


def _over_budget(reached: Reached) -> Failure:
    spent, limit = format_dollars(reached.spent), format_dollars(reached.limit)
    message = f"not asked: {spent} of {limit} USD are spent today (budget of the {reached.scope})"
    return Failure(category=Category.QUOTA_EXHAUSTED, message=message)


def _model_hop(agent: str, turn_id: str, hopped: Hopped) -> ModelHop:
    hop = hopped.hop
    return ModelHop(
        turn_id=turn_id,
        agent=agent,
        from_model=hop.from_model,
        to_model=hop.to_model,
        category=hop.category,
        shown_chars=hop.shown_chars,
        elapsed_s=hop.elapsed_s,
    )
