"""How is a Feishu bot made for the service?"""

from mainstay.channels.feishu.channel import FeishuChannel
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.seam import Service

__all__ = ["channel"]


def channel(name: str, settings: FeishuSettings, service: Service) -> FeishuChannel:
    """See `mainstay.channels.seam`. Raises ConfigError."""
    return FeishuChannel(
        name,
        settings,
        storage=service.storage,
        bus=service.bus,
        clock=service.clock,
        accept=service.accept,
        recalled=service.cancel,
        answered_before=service.answered_before,
        suggest=service.suggest,
        find=service.find,
        unanswered=service.unanswered,
        retry_window_s=service.retry_window_s,
        http=service.http,
        guard=service.guard,
    )
