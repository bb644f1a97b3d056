"""What is the person told, besides the answer?

One honest line in the language they wrote in, Chinese or English, without anything internal.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from mainstay.errors import Category

__all__ = [
    "Language",
    "answered",
    "continuing",
    "crowded",
    "failed",
    "gave_up",
    "interrupted",
    "language_of",
    "manager_instead",
    "many",
    "over_budget",
    "resuming",
    "stopped_too",
    "together",
    "too_late",
    "waiting",
]

Language = Literal["en", "zh"]

_CHINESE: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")

Advice = Literal["in a moment", "again", "operator", "none"]

_FAILED: Final[Mapping[Category, tuple[str, str, Advice]]] = {
    Category.RATE_LIMIT: ("The language model is busy right now.", "语言模型当前繁忙。", "in a moment"),
    Category.OVERLOADED: ("The language model is busy right now.", "语言模型当前繁忙。", "in a moment"),
    Category.QUOTA_EXHAUSTED: (
        "The quota of the language model is used up.",
        "语言模型的额度已用完。",
        "operator",
    ),
    Category.TIMEOUT: (
        "The answer took too long and was given up.",
        "回答超时，已停止等待。",
        "again",
    ),
    Category.CONNECTION: (
        "The connection to the language model failed.",
        "与语言模型的连接失败。",
        "in a moment",
    ),
    Category.SERVER_ERROR: ("The language model failed.", "语言模型出错了。", "in a moment"),
    Category.AUTH: (
        "The language model refused the service's access.",
        "语言模型拒绝了本服务的访问。",
        "operator",
    ),
    Category.PERMISSION: (
        "The language model refused the service's access.",
        "语言模型拒绝了本服务的访问。",
        "operator",
    ),
    Category.INVALID_REQUEST: (
        "The language model did not accept this request.",
        "语言模型不接受这个请求。",
        "none",
    ),
    Category.CONTEXT_LENGTH: (
        "This conversation is too long for the language model. Please start a new one.",
        "对话内容过长，超出了语言模型的限制，请开启新的对话。",
        "none",
    ),
    Category.CONTENT_FILTER: (
        "The content filter of the language model stopped this answer.",
        "这个回答被语言模型的内容过滤拦截了。",
        "none",
    ),
    Category.CANCELLED: ("The answer was cancelled.", "回答已取消。", "none"),
    Category.MALFORMED: (
        "The language model broke off in the middle of the answer.",
        "语言模型的回答中断或不完整。",
        "again",
    ),
    Category.DATABASE: (
        "The service's storage is not available.",
        "服务的存储暂不可用。",
        "in a moment",
    ),
    Category.INTERNAL: (
        "Something went wrong inside the service. It has been recorded.",
        "服务内部出错，问题已被记录。",
        "none",
    ),
}
_ADVICE: Final[Mapping[Advice, tuple[str, str]]] = {
    "in a moment": ("Please try again in a moment.", "请稍后再试。"),
    "again": ("Please try again.", "请重试。"),
    "operator": ("The operator has to look at this.", "需要管理员处理。"),
    "none": ("", ""),
}
_NAMED_CHARS: Final = 24
_INSIDE: Final = re.compile(
    "\u200d|.[\u200d\ufe0e\ufe0f\u20e3\u0300-\u036f\U0001f3fb-\U0001f3ff]|[\U0001f1e6-\U0001f1ff]{2}", re.DOTALL
)
"""Two code points of one character, as people see it: an emoji that is put together, an accent, a flag."""
_INNER_QUOTES: Final = str.maketrans("“”", "‘’")
_NAMED_FROM_S: Final = 5.0  # a shorter wait is "in a moment"


def language_of(text: str) -> Language:
    """Chinese if the person used any Chinese character."""
    return "zh" if _CHINESE.search(text) else "en"


def failed(
    category: Category, language: Language, *, had_effects: bool = False, wait_s: float | None = None
) -> str:
    """Why there is no answer, what to do about it, and whether something was done all the same.

    Args:
        category: why.
        language: of the person.
        had_effects: whether a tool with effects has run.
        wait_s: when it may be worth trying again; None when nobody knows.
    """
    english, chinese, advice = _FAILED[category]
    done = _in(language, "Some actions had been carried out already.", "部分操作在此之前已经执行。")
    what_to_do = _try_again_in(wait_s, language) if wait_s is not None else ""
    if not what_to_do or advice in ("operator", "none"):
        what_to_do = _in(language, *_ADVICE[advice])
    return _join(language, _in(language, english, chinese), what_to_do, done if had_effects else "")


def crowded(language: Language) -> str:
    """So many questions are being answered that this one was turned away at once."""
    return _in(
        language,
        "Too many questions are being answered here right now. Please try again in a moment.",
        "当前正在处理的问题过多，请稍后再试。",
    )


def many(language: Language) -> str:
    """Somebody says more than can be answered one by one."""
    return _in(
        language,
        "These are many messages at once. They are answered in order, the last of them together in one answer.",
        "消息较多，将按顺序回复，最后几条会合并成一条回复。",
    )


def together(others: Sequence[str], language: Language) -> str:
    """Which other messages an answer is for, each by how it begins."""
    return _in(language, f"This also answers: {_named(others)}", f"同时回复了：{_named(others)}")


def stopped_too(others: Sequence[str], language: Language) -> str:
    """Which other messages were stopped, each by how it begins."""
    return _in(language, f"Also stopped: {_named(others)}", f"同时停止了：{_named(others)}")


def _named(texts: Sequence[str]) -> str:
    return " ".join(f"“{_beginning(text)}”" for text in texts)


def _beginning(text: str) -> str:
    words = " ".join(text.split()).translate(_INNER_QUOTES)
    if len(words) <= _NAMED_CHARS:
        return words
    end = _NAMED_CHARS
    while end and _INSIDE.match(words, end - 1):
        end -= 1
    return f"{words[: end or _NAMED_CHARS].rstrip()}…"


def over_budget(language: Language) -> str:
    """The operator's budget for models does not allow another answer."""
    return _in(
        language,
        "The budget for the language models is used up for now. The operator has to look at this.",
        "语言模型的预算暂时用完了，需要管理员处理。",
    )


def waiting(language: Language, seconds: float) -> str:
    """The model asked to be left alone for a moment, and the person is kept waiting that long."""
    whole = max(1, round(seconds))
    return _in(
        language, f"The language model is busy; trying again in {whole} s…", f"语言模型繁忙，{whole} 秒后重试……"
    )


def _try_again_in(wait_s: float, language: Language) -> str:
    if wait_s < _NAMED_FROM_S:
        return ""
    if wait_s < 90:
        count = 5 * math.ceil(wait_s / 5)
        return _in(language, f"Please try again in about {count} seconds.", f"请在约 {count} 秒后再试。")
    count = math.ceil(wait_s / 60)
    return _in(language, f"Please try again in about {count} minutes.", f"请在约 {count} 分钟后再试。")


def answered(language: Language, *, cut: bool, unsure: bool) -> str:
    """What has to be said about an answer that is there: cut by length, or an action of unknown result."""
    length = _in(language, "The answer was cut off at its greatest length.", "回答达到长度上限，已被截断。")
    return _join(language, length if cut else "", interrupted(language) if unsure else "")


def interrupted(language: Language) -> str:
    """An action was under way when the service was interrupted, and was not repeated."""
    return _in(
        language,
        "An action was interrupted: it may or may not have been carried out, and was not repeated.",
        "有一项操作中途被打断：可能已执行，也可能没有，未再重复执行。",
    )


def continuing(language: Language, *, same_model: bool) -> str:
    """Text was shown when the model failed, and another one starts again, or the same one does."""
    if same_model:
        return _in(language, "The answer broke off; trying again…", "回答中断，正在重试……")
    return _in(language, "The answer broke off; another model is taking over…", "回答中断，正在换用另一个模型……")


def manager_instead(language: Language) -> str:
    """The specialist failed and the Manager answers."""
    return _in(language, "The specialist is not available; answering without it…", "专家暂不可用，改为直接回答……")


def gave_up(language: Language) -> str:
    """Each attempt at an answer ended with the process."""
    return _in(
        language,
        "This message could not be answered: each attempt was interrupted. It has been recorded.",
        "这条消息未能得到回答：每次尝试都被中断，问题已被记录。",
    )


def too_late(language: Language) -> str:
    """The service was not there when the message came."""
    return _in(
        language,
        "The service was not available when you wrote this. Please ask again if it still matters.",
        "您发送这条消息时服务不可用。如仍需要，请重新发送。",
    )


def resuming(language: Language) -> str:
    """The service stops before the answer is there; a successor goes on."""
    return _in(
        language, "The service is restarting; the answer will go on here…", "服务正在重启，回答稍后将在此继续……"
    )


def _in(language: Language, english: str, chinese: str) -> str:
    return chinese if language == "zh" else english


def _join(language: Language, *sentences: str) -> str:
    return ("" if language == "zh" else " ").join(sentence for sentence in sentences if sentence)
