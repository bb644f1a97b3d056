"""How is a Feishu bot made for the service?"""

from mainstay.channels.feishu.channel import FeishuChannel
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.seam import Service
from mainstay.messages import Message

__all__ = ["channel"]


def channel(name: str, settings: FeishuSettings, service: Service) -> FeishuChannel:
    """See `mainstay.channels.seam`. Raises ConfigError."""

    async def has_ended(turn_id: str) -> bool:
        entry = await service.find(turn_id)
        return entry is None or entry.closed_at is not None

    async def waiting(turn_id: str) -> Message | None:
        entry = await service.find(turn_id)
        try:
            return Message.from_json(entry.message) if entry and entry.closed_at is None else None
        except (ValueError, TypeError, KeyError):  # it will be a dead letter
            return None

    return FeishuChannel(
        name,
        settings,
        storage=service.storage,
        bus=service.bus,
        clock=service.clock,
        accept=service.accept,
        recalled=service.cancel,
        stopped=service.stop,
        answered_before=service.answered_before,
        suggest=service.suggest,
        waiting=waiting,
        has_ended=has_ended,
        find=service.find,
        unanswered=service.unanswered,
        retry_window_s=service.retry_window_s,
        http=service.http,
        guard=service.guard,
    )
