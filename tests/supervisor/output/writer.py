"""A child that writes known lines as fast as it can until it is told to end.

It writes them in blocks of a size that has nothing to do with lines. After each block it says, on the descriptor
that it is given, that the block is in the FIFO; when it has ended it says how many lines there are.
"""

import os
import signal
import sys

from tests.supervisor.output.known import line

BLOCK = 60_001


def main() -> None:
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True

    says = int(sys.argv[1])
    signal.signal(signal.SIGTERM, end)
    number, waiting = 0, bytearray()
    while not ending:
        while len(waiting) < BLOCK:
            waiting += line(number)
            number += 1
        _write(bytes(waiting[:BLOCK]))
        del waiting[:BLOCK]
        os.write(says, b".")
    _write(bytes(waiting))
    os.write(says, f"{number}\n".encode())


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main())
