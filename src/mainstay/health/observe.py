"""How does what happens in the service reach the monitor?"""

from mainstay.bus import Bus
from mainstay.events import AgentCalled, AttemptFailed, ErrorSeen, TurnFinished
from mainstay.health.monitor import HealthMonitor
from mainstay.messages import Outcome

__all__ = ["watch"]


def watch(bus: Bus, monitor: HealthMonitor) -> None:
    """Count turns as user-visible calls, specialists as calls inside of them, and each failed attempt as one error.

    A cancelled turn is not counted, nor one without an agent. A failed turn adds no error of its own: its attempts
    did.
    """

    def on_turn(event: TurnFinished) -> None:
        if event.agent and event.outcome is not Outcome.CANCELLED:
            answered = event.outcome is Outcome.ANSWERED
            monitor.track_agent_call(event.agent, event.latency_s * 1000, answered)

    def on_specialist(event: AgentCalled) -> None:
        monitor.track_agent_call(event.agent, event.latency_s * 1000, event.success, root=False)

    def on_error(event: AttemptFailed | ErrorSeen) -> None:
        monitor.track_error(event.category, event.message)

    bus.subscribe(TurnFinished, on_turn)
    bus.subscribe(AgentCalled, on_specialist)
    bus.subscribe(AttemptFailed, on_error)
    bus.subscribe(ErrorSeen, on_error)
