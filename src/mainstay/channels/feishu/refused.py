"""What do those who call the platform hear when it did not do what was asked?"""

from mainstay.channels.feishu.machine import Action, Refusal
from mainstay.errors import DeliveryError

__all__ = ["Refused"]


class Refused(DeliveryError):
    """The platform did not do what was asked, or it is not known whether it did."""

    def __init__(self, what: str, refusal: Refusal) -> None:
        super().__init__(f"{what}: {refusal.reason}", retryable=refusal.action in (Action.WAIT, Action.PRESSED))
        self.what = what
        self.refusal = refusal
