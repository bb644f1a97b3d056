"""What does the bot say by itself, without an agent?

In the language of the person where the platform tells it; in both where nobody knows.
"""

from collections.abc import Mapping
from typing import Final

from mainstay.recovery.notices import Language

__all__ = [
    "NOTHING_MORE",
    "NOTHING_MORE_BELOW",
    "NOT_READ",
    "marker",
    "on_one_line",
    "stopped",
    "unreadable",
    "unreadable_context",
]

_THINGS: Final[Mapping[str, tuple[str, str]]] = {
    "image": ("images", "图片"),
    "file": ("files", "文件"),
    "folder": ("folders", "文件夹"),
    "audio": ("voice messages", "语音消息"),
    "media": ("videos", "视频"),
    "sticker": ("stickers", "表情包"),
    "share_chat": ("shared groups", "群名片"),
    "share_user": ("contact cards", "个人名片"),
    "hongbao": ("red packets", "红包"),
    "video_chat": ("calls", "视频通话"),
    "system": ("system messages", "系统消息"),
}
_OTHER: Final = ("this kind of message", "这类消息")
NOTHING_MORE: Final = (
    "抱歉，这条消息的回答中断了，无法继续，请重新提问。\n"
    "Sorry, the answer to this was interrupted and can not go on. Please ask again."
)
NOTHING_MORE_BELOW: Final = (
    "以上回答可能不完整，且不会再继续；如有缺失，请重新提问。\n"
    "The answer above may be incomplete, and nothing more will come. Please ask again if something is missing."
)
NOT_READ: Final = "[In reply to an earlier message, which could not be read.]"


def on_one_line(name: str) -> str:
    """A name as it is put into a text: of people, of files. It is not to look like the text around it."""
    return " ".join(name.split())


def marker(kind: str, name: str = "") -> str:
    """What stands in a text in the place of something that can not be read."""
    name = on_one_line(name)
    return f"[{kind or 'unknown'}: {name}]" if name else f"[{kind or 'unknown'}]"


def stopped(language: Language) -> str:
    """Somebody has said that an answer is to be stopped, and it is."""
    return "已停止。" if language == "zh" else "Stopped."


def unreadable(kind: str, language: Language | None) -> str:
    """There was nothing in a message that could be read."""
    english, chinese = _THINGS.get(kind, _OTHER)
    in_english = f"Sorry, I can not read {english} yet. Please tell me in words what it is about."
    in_chinese = f"抱歉，我还看不懂{chinese}，请用文字告诉我。"
    match language:
        case "zh":
            return in_chinese
        case "en":
            return in_english
        case None:
            return f"{in_chinese}\n{in_english}"


def unreadable_context(kinds: tuple[str, ...]) -> str:
    """What an agent is told about a message of which it can read the words only."""
    listed = ", ".join(marker(kind) for kind in kinds)
    return (
        f"[What is marked {listed} can not be shown to you. Say so, kindly, where the answer would depend on it.]"
    )
