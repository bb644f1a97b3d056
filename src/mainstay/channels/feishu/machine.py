"""The platform refused something: what now?

`classify` names the refusal, from the code, the HTTP status and the headers of one answer. `after` decides what
becomes of the outcome that could not be shown; of an update of a card that streams `streaming.while_streaming`
does. All are tables; nothing here waits or sends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mainstay.channels.feishu.model import Delivery, Via
from mainstay.errors import Category
from mainstay.messages import Outcome

__all__ = [
    "Action",
    "Degrade",
    "Drop",
    "GiveUp",
    "Refusal",
    "Retry",
    "after",
    "backoff",
    "classify",
    "failed_request",
]

_OUTRUN: Final = 5  # tries; who holds a higher sequence after these does not let go of it


class Action(StrEnum):
    """What a refusal asks for."""

    WAIT = "wait"
    """The same request may pass later."""
    PRESSED = "pressed"
    """Somebody is pressing something on the card: the same request will pass in a moment."""
    QUOTA = "quota"
    """The month's calls are used up: stop what is not essential."""
    REFRESH = "refresh"
    """The token is not valid any more: get another, and try once more."""
    REOPEN = "reopen"
    """The card does not stream any more; it can still be written as a whole."""
    SUPERSEDED = "superseded"
    """A higher sequence was there first."""
    REPLACE = "replace"
    """The card can not be written at all any more."""
    DEGRADE = "degrade"
    """The content is refused in this form."""
    APOLOGISE = "apologise"
    """The content is refused in every form: the platform's policy forbids it."""
    UNTHREAD = "unthread"
    """A thread is not possible here: answer without one."""
    TERMINAL = "terminal"
    """Nobody can be answered here any more."""
    CONFIGURE = "configure"
    """Somebody has to change the app in the developer console."""


_CODES: Final[Mapping[Action, tuple[int, ...]]] = {
    Action.WAIT: (
        99991400, 99991402, 230020, 11020, 11021, 11232, 11233, 11247, 2200,  # too often
        18121, 230049, 231015,  # still in progress
        1500, 5000, 10101, 300120,  # the platform's own trouble
    ),
    Action.PRESSED: (200810,),
    Action.QUOTA: (99991403,),
    Action.REFRESH: (99991661, 99991663, 99991664, 99991665, 99991668, 99991671),
    Action.REOPEN: (200850, 300309),
    Action.SUPERSEDED: (300317,),
    Action.REPLACE: (200740, 200750, 300311),
    Action.DEGRADE: (230025, 200860, 19036, 230099, 300305, 230001, 99992402, 300303),
    Action.APOLOGISE: (230022, 230028),
    Action.UNTHREAD: (230019, 230071),
    Action.TERMINAL: (
        230011, 230110, 99992354,  # recalled, deleted, never there
        230002, 230013, 230017, 230018, 230029, 230034, 230035, 230038, 230053, 232009,
    ),
    Action.CONFIGURE: (10003, 10014, 10015, 99991401, 99991672, 99991679, 230006, 230027),
}  # fmt: skip
_ACTIONS: Final = {code: action for action, codes in _CODES.items() for code in codes}
_RATE: Final = {99991400, 99991402, 230020, 11020, 11021, 11232, 11233, 11247, 2200}
_NARROW: Final = {230020, 11233}
_GONE: Final = {230011, 230110, 99992354}
_SCOPE: Final = {99991672, 99991679, 230027}
_CATEGORIES: Final[Mapping[Action, Category]] = {
    Action.WAIT: Category.SERVER_ERROR,
    Action.PRESSED: Category.SERVER_ERROR,
    Action.QUOTA: Category.QUOTA_EXHAUSTED,
    Action.REFRESH: Category.AUTH,
    Action.APOLOGISE: Category.CONTENT_FILTER,
    Action.CONFIGURE: Category.AUTH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused request, understood.

    Attributes:
        wait_s: how long the platform asked us to wait; 0.0 if it did not say.
        scope: only this kind of request is not permitted to the app; others may be.
        narrow: it was too often for one chat or message; others may have room.
        gone: the message that it was about is not there any more; another one may be.
    """

    action: Action
    category: Category
    reason: str
    wait_s: float = 0.0
    scope: bool = False
    narrow: bool = False
    gone: bool = False


def classify(code: int, http_status: int, headers: Mapping[str, str], message: str = "") -> Refusal:
    """What the platform's answer asks for.

    The code decides, because a rate limit of an older API comes as HTTP 400 and some errors come as 200; the
    status only decides where the code is not known. A code that nobody has described is held to be about the
    content: shown in a simpler form it may pass, and it must not block a conversation for hours. The names of the
    ``headers`` are in lower case.
    """
    reason = f"code {code}, HTTP {http_status}: {message}"[:300]
    if code in _RATE or (http_status == 429 and code not in _ACTIONS):
        wait_s = _seconds(headers.get("x-ogw-ratelimit-reset", "") or headers.get("retry-after", ""))
        narrow = code in _NARROW
        return Refusal(
            action=Action.WAIT, category=Category.RATE_LIMIT, reason=reason, wait_s=wait_s, narrow=narrow
        )
    action = _ACTIONS.get(code)
    if action is None:
        action = Action.WAIT if http_status >= 500 else Action.DEGRADE
    scope = code in _SCOPE
    category = Category.PERMISSION if scope else _CATEGORIES.get(action, Category.INVALID_REQUEST)
    return Refusal(action=action, category=category, reason=reason, scope=scope, gone=code in _GONE)


def failed_request(category: Category, reason: str, *, wait_s: float = 0.0) -> Refusal:
    """No answer at all, or none that can be read: it may have been done all the same."""
    return Refusal(action=Action.WAIT, category=category, reason=reason, wait_s=wait_s)


def _seconds(text: str) -> float:
    try:
        return max(0.0, min(float(text), 3600.0))
    except ValueError:
        return 0.0


def backoff(failures: int, *, base_s: float, cap_s: float, at_least_s: float = 0.0, jitter: float = 1.0) -> float:
    """How long to wait after so many failures in a row.

    Doubles from ``base_s`` to ``cap_s``, spread by ``jitter`` (0 to 1) over its upper half; never shorter than the
    platform asked for, but for the cap.
    """
    delay_s = min(cap_s, base_s * 2.0 ** min(failures - 1, 30))
    return min(cap_s, max(at_least_s, delay_s * (0.5 + 0.5 * jitter)))


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the same again."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Degrade:
    """Go on at once in a simpler form, or with an apology in the answer's place."""

    via: Via
    apologise: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It can not be shown: a dead letter."""

    reason: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Nobody is waiting for it: the person took the message back."""


def after(
    refusal: Refusal,
    delivery: Delivery,
    *,
    age_s: float,
    base_s: float,
    cap_s: float,
    max_age_s: float,
    jitter: float,
) -> Retry | Degrade | GiveUp | Drop:
    """What becomes of an outcome whose delivery was refused.

    What a simpler form can not help is tried until ``max_age_s``, because an operator can repair an app and a
    platform comes back; `backoff` says how often.
    """
    match refusal.action:
        case Action.TERMINAL:
            return Drop() if delivery.outcome is Outcome.CANCELLED else GiveUp(refusal.reason)
        case Action.APOLOGISE:
            return GiveUp(refusal.reason) if delivery.apologise else Degrade(Via.TEXT, apologise=True)
        case Action.DEGRADE | Action.REPLACE | Action.REOPEN | Action.UNTHREAD:
            return _simpler(delivery) or GiveUp(refusal.reason)
        case Action.SUPERSEDED if delivery.tries >= _OUTRUN:
            return _simpler(delivery) or GiveUp(refusal.reason)
        case Action.CONFIGURE if refusal.scope and delivery.via is Via.CARD:
            return Degrade(Via.POST, apologise=delivery.apologise)
    if age_s >= max_age_s:
        return GiveUp(f"not delivered within {max_age_s:g} s: {refusal.reason}")
    if refusal.action in (Action.QUOTA, Action.CONFIGURE):
        return Retry(cap_s)
    return Retry(backoff(delivery.tries, base_s=base_s, cap_s=cap_s, at_least_s=refusal.wait_s, jitter=jitter))


def _simpler(delivery: Delivery) -> Degrade | None:
    match delivery.via:
        case Via.CARD:
            return Degrade(Via.POST, apologise=delivery.apologise)
        case Via.POST:
            return Degrade(Via.TEXT, apologise=delivery.apologise)
        case Via.TEXT:
            return None
