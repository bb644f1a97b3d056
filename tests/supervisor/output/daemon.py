"""A daemon that writes one log, until it is killed.

It takes a JSON object: ``fifo``, ``log``, ``policy``; ``splice`` false: as where the file system can not; and
``die_at_rename``: it kills itself right before this one.
"""

import json
import os
import select
import signal
import sys
import threading
from pathlib import Path

from mainstay.clock import SystemClock
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Policy
from mainstay.supervisor.output.pump import Pump


def main() -> None:
    asked = json.loads(sys.argv[1])
    fifo, log, policy = Path(asked["fifo"]), Path(asked["log"]), Policy(**asked["policy"])
    if asked.get("die_at_rename"):
        _die_at_rename(asked["die_at_rename"])
    if asked.get("splice", True):
        collector = Collector(notice=print)
        collector.start()
        collector.add(fifo, log, policy).result()
        print("ready", flush=True)
        sys.stdin.readline()
        collector.drain(log).result()
        collector.close()
        return
    pump = Pump(fifo, log, policy, clock=SystemClock(), splice=False)
    ended = threading.Event()
    print("ready", flush=True)
    while not ended.is_set():
        ready, _, _ = select.select([pump.fifo, sys.stdin], [], [])
        moved = pump.step()
        if sys.stdin in ready and not moved:
            ended.set()


def _die_at_rename(count: int) -> None:
    left = count

    def audit(event: str, _: object) -> None:
        nonlocal left
        if event == "os.rename":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


if __name__ == "__main__":
    main()
