"""What is known after an afternoon of trouble, and is it as it was promised?

The service is held against what others have seen: the people in their chats, the models' provider in its record.
Nothing in here is a tolerance: where the two see different things, a rule says which.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.agents.fault_matrix import FAULTS
from tests.process.afternoon import MODELS, Line
from tests.process.conftest import inbox, logged, turn_of

from mainstay.errors import Category
from mainstay.recovery import notices
from mainstay.sandbox.model import Delivery, Reply, Verdict
from mainstay.sandbox.provider.model import ChatMessage, ChatRequest, Tool
from mainstay.sandbox.provider.responder import respond
from mainstay.testing.project import Project

NOTED = "noted.log"
_NEVER = ("turn.cut_off", "message.dead_lettered")
_EVENTS = ("message.accepted", "turn.finished", "attempt.failed", "error.seen", *_NEVER)
_EVERY_CALL = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Whatever belongs to a message is found by its turn_id.

    Attributes:
        lines: what was said, in the order in which the service took it in.
        shown: all that was ever to be seen.
        models: what the provider has recorded; see `ProviderRecord.as_json`.
        events: the service's log, by the events' names.
        noted: the numbers that the tool has written down.
        health: the report.
    """

    lines: dict[str, Line]
    verdicts: dict[str, Verdict]
    shown: dict[str, tuple[Reply, ...]]
    deliveries: list[Delivery]
    models: dict[str, Any]
    events: dict[str, list[dict[str, Any]]]
    noted: list[str]
    health: dict[str, Any]

    def finished(self) -> dict[str, dict[str, Any]]:
        """How each turn ended, as the service says."""
        return {line["turn_id"]: line["data"] for line in self.events["turn.finished"]}

    def calls(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """What the provider was asked for each turn, by turn and model, oldest first."""
        turn_ids = {line.text: turn_id for turn_id, line in self.lines.items()}
        found = defaultdict[tuple[str, str], list[dict[str, Any]]](list)
        for model, record in self.models.items():
            for call in record["calls"]:
                found[turn_ids[call["said"]], model].append(call)
        return dict(found)

    def ran(self, turn_id: str) -> int:
        """How often the tool has run for this message."""
        return self.noted.count(_number(self.lines[turn_id].text))


async def gathered(made: Project, said: dict[str, Line]) -> Evidence:
    """All of it; ``said`` is by message_id."""
    turns = {turn_of(made, message_id): message_id for message_id in said}
    record = {each.message_id: each for each in (await made.sandbox.record()).messages}
    verdicts = {each.message_id: each for each in await made.sandbox.outcomes()}
    models = await made.sandbox.models(last=_EVERY_CALL)
    noted = made.directory / NOTED
    return Evidence(
        lines={turn_id: said[turns[turn_id]] for turn_id in inbox(made)},
        verdicts={turn_id: verdicts[message_id] for turn_id, message_id in turns.items()},
        shown={turn_id: record[message_id].replies for turn_id, message_id in turns.items()},
        deliveries=await made.sandbox.deliveries(),
        models={name: models[name] for name in MODELS},
        events={name: logged(made, name) for name in _EVENTS},
        noted=noted.read_text().split() if noted.exists() else [],
        health=await made.health(),
    )


def judge(seen: Evidence) -> None:
    """Everything that was promised.

    Of a machine that was too busy to read a request before it was given up, nothing can be said.
    """
    _no(call for model in seen.models.values() for call in model["calls"] if not call["said"])
    _one_outcome_each(seen)
    _nothing_is_doubled(seen)
    _attempts_are_those_of_the_provider(seen)
    _tokens_are_those_of_the_provider(seen)
    _health_counts_the_same(seen)
    _all_is_well_again(seen)


def _one_outcome_each(seen: Evidence) -> None:
    """Nobody is left in silence, nobody is told twice, and nothing is still under way."""
    _no(each for each in seen.verdicts.values() if (each.outcomes, each.unfinished) != (1, 0))
    once = dict.fromkeys(seen.verdicts, 1)
    assert dict.fromkeys(seen.lines, 1) == once
    for name in ("message.accepted", "turn.finished"):
        assert Counter(line["turn_id"] for line in seen.events[name]) == once, name
    _no(line for name in _NEVER for line in seen.events[name])
    _no(each for each in seen.deliveries if each.state != "acknowledged")
    assert len(seen.deliveries) == len(once)
    assert {model["open"] for model in seen.models.values()} == {0}


def _nothing_is_doubled(seen: Evidence) -> None:
    """What is shown is the one answer that was due, or as much of it as there was and why there is no more.

    Before that nothing else was shown either: a broken answer gives way to the next one. A tool runs once.
    """
    finished, before = seen.finished(), defaultdict[str, list[str]](list)
    for turn_id, line in seen.lines.items():
        whole, ended, ran = _due(line.text, before[line.chat]), finished[turn_id], seen.ran(turn_id)
        [shown], [reply] = seen.verdicts[turn_id].texts, seen.shown[turn_id]
        if ended["outcome"] == "answered":
            assert shown == whole, line
            before[line.chat].append(line.text)
        else:
            category, language = Category(ended["category"]), notices.language_of(line.text)
            notice = notices.failed(category, language, had_effects=ran > 0)
            assert shown.endswith(notice), (line, shown)
            assert whole.startswith(shown.removesuffix(notice).rstrip()), (line, shown)
        for earlier in reply.history[:-1]:
            assert whole.startswith(earlier.text.removesuffix("…")), (line, earlier)
        assert ran in ((0, 1) if ended["outcome"] == "failed" else (int("note" in line.text),)), line


def _due(text: str, before: list[str]) -> str:
    """The answer of the models, which all say the same, after these messages of the chat were answered."""
    earlier = [ChatMessage(role=role, text=said) for said in before[-1:] for role in ("user", "assistant")]
    messages = (*earlier, ChatMessage(role="user", text=text))
    request = ChatRequest(model="", digest="", tools=(Tool(name="note"),), messages=messages)
    answer = respond(request)
    if not answer.calls:
        return answer.text
    called = ChatMessage(role="assistant", text="", calls=answer.calls)
    result = ChatMessage(role="tool", text=f"noted {_number(text)}", call_id=answer.calls[0].id)
    return respond(replace(request, messages=(*messages, called, result))).text


def _number(text: str) -> str:
    """The first in it: each message has its own."""
    return text.replace("：", " ").replace(":", " ").split()[1]


def _attempts_are_those_of_the_provider(seen: Evidence) -> None:
    """For each turn and model: a request that did not end well is one failed attempt, counted as what it was.

    One that did is the answer, or the call of the tool before it.
    """
    calls = seen.calls()
    assert sum(map(len, calls.values())) == sum(model["total"] for model in seen.models.values())
    fates = {key: [str(fate) for call in made if (fate := _fate(call))] for key, made in calls.items()}
    failed = defaultdict[tuple[str, str], list[str]](list)
    for line in seen.events["attempt.failed"]:
        failed[line["turn_id"], line["data"]["model"]].append(line["data"]["category"])
    _no(
        f"{seen.lines[key[0]]}, {key[1]}: the provider saw {fates.get(key, [])}, counted is {failed[key]}"
        for key in {**fates, **failed}
        if fates.get(key, []) != failed[key]
    )
    for turn_id, ended in seen.finished().items():
        well = sum(_fate(call) is None for model in MODELS for call in calls.get((turn_id, model), ()))
        answered = ended["outcome"] == "answered"
        assert well == answered + seen.ran(turn_id), seen.lines[turn_id]
        assert not answered or _fate(calls[turn_id, ended["model"]][-1]) is None, seen.lines[turn_id]


def _fate(call: dict[str, Any]) -> Category | None:
    """What a request came to, for whoever made it; None: an answer."""
    match call["ending"]:
        case "finished":
            return None if call["tokens_sent"] else Category.MALFORMED
        case "disconnected":
            return Category.TIMEOUT
        case "faulted":
            return FAULTS[call["fault"]]
        case _:
            return Category.INVALID_REQUEST


def _tokens_are_those_of_the_provider(seen: Evidence) -> None:
    """All attempts are entered but those that were refused; what the provider could not tell is an estimate."""
    calls, finished = seen.calls(), seen.finished()
    used = {(turn_id, each["model"]): each for turn_id, ended in finished.items() for each in ended["usage"]}
    worked = {key: paid for key, made in calls.items() if (paid := [call for call in made if not _refused(call)])}
    _no(set(used) ^ set(worked))
    for key, entry in used.items():
        told = [call for call in worked[key] if call["usage_told"]]
        assert entry["estimated"] == (len(told) < len(worked[key])), (key, entry)
        counted = sum(call["prompt_tokens"] for call in told), sum(call["tokens_sent"] for call in told)
        assert entry["estimated"] or (entry["input_tokens"], entry["output_tokens"]) == counted, (key, entry)


def _refused(call: dict[str, Any]) -> bool:
    """Whether nothing was done for it: by its status, or by an error in the place of the one object."""
    return call["status"] >= 400 or (call["fault"] == "error-after-200" and not call["stream"])


def _health_counts_the_same(seen: Evidence) -> None:
    """The report adds up, and to what the provider has recorded; the platform's errors are in it, too."""
    errors, manager = seen.health["errors"], seen.health["agents"]["manager"]
    fates = {model: [_fate(call) for call in record["calls"]] for model, record in seen.models.items()}
    counted = Counter(str(fate) for of_model in fates.values() for fate in of_model if fate)
    for line in seen.events["error.seen"]:
        assert line["data"]["where"].startswith("feishu"), line
        counted[line["data"]["category"]] += 1
    _no(set(errors["byCategory"].items()) ^ set(counted.items()))
    assert errors["rateLimits"] == counted[Category.RATE_LIMIT] + counted[Category.QUOTA_EXHAUSTED]
    assert errors["timeouts"] == counted[Category.TIMEOUT]
    assert errors["total"] == errors["rateLimits"] + errors["timeouts"] + errors["other"] == counted.total()
    answered = Counter(ended["model"] for ended in seen.finished().values() if ended["outcome"] == "answered")
    assert manager["callCount"] == manager["successCount"] + manager["errorCount"] == len(seen.lines)
    assert manager["successCount"] == answered.total()
    for model, of_model in fates.items():
        detail = seen.health["dependencies"][f"model:{model}"]["detail"]
        failures = len(of_model) - of_model.count(None)
        assert (detail["answers"], detail["failures"]) == (answered[model], failures), model


def _all_is_well_again(seen: Evidence) -> None:
    """Once the trouble is over, nobody is left alone any more."""
    breakers = {model: seen.health["dependencies"][f"model:{model}"]["detail"]["breaker"] for model in MODELS}
    assert breakers == dict.fromkeys(MODELS, "closed")
    _no(reason for reason in seen.health["reasons"] if "left alone" in reason)


def _no(wrong: Iterable[object]) -> None:
    """There must be none; what stands there if there are must be enough to go by."""
    found = list(wrong)
    assert not found, f"{len(found)}: " + "; ".join(map(str, found[:5]))
