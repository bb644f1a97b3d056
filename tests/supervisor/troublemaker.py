"""A program that does what it is told, and keeps a record of itself that outlives any kill of it.

``python -I -S troublemaker.py DIRECTORY [once]``: run by itself, with nothing of the package. Each run has a file
in ``DIRECTORY/runs`` that it has mapped: when it was last alive, which numbered lines it was about to write, and
which it has written. So what must be in its log is known, whoever killed it when. ``DIRECTORY/told/NAME`` tells it
what to do.
"""

# ruff: noqa: PTH123, PTH104  pathlib takes longer than all the rest

import mmap
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress

RECORD = struct.Struct("<ddQQQd")
"""Began, was alive last (CLOCK_BOOTTIME), is about to write so many lines, has, why it ends, hangs since."""

TICK_S = 0.025
FLOOD = 500  # lines at once
FATAL = ("exit", "die", "hang", "leak")
BLOCK = 4096  # so much is written whole or not at all (PIPE_BUF)


def now_s():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def started(pid):
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[19])


class Run:
    def __init__(self, directory, name, kind):
        pid = os.getpid()
        self.id = f"{pid}.{started(pid)}"
        self.name, self.directory = name, directory
        path = f"{directory}/runs/{kind}.{name}.{self.id}"
        with open(f"{path}.new", "wb") as fresh:
            fresh.write(RECORD.pack(now_s(), now_s(), 0, 0, 0, 0.0))
        with open(f"{path}.new", "r+b") as file:
            self.map = mmap.mmap(file.fileno(), RECORD.size)
        os.rename(f"{path}.new", path)

    def set(self, at, form, value):
        struct.pack_into(form, self.map, at, value)

    def alive(self):
        self.set(8, "<d", now_s())

    def write(self, count):
        """So many lines, in writes of which none can be cut."""
        (done,) = struct.unpack_from("<Q", self.map, 24)
        while count:
            lines = b""
            first = done
            while count and len(lines) < BLOCK - 200:
                lines += b"%s %s %08d %s.\n" % (self.name.encode(), self.id.encode(), done, b"x" * (done % 90))
                done += 1
                count -= 1
            self.set(16, "<Q", done)
            assert os.write(1, lines) == len(lines), first
            self.set(24, "<Q", done)
            self.alive()


def away(directory, name):
    """Somebody who leaves the session, and stays."""
    if os.fork() == 0:
        os.setsid()
        Run(directory, name, "away")
        os.execv("/bin/sleep", ["sleep", "100000"])


def told(directory, name):
    path = f"{directory}/told/{name}"
    try:
        os.rename(path, f"{path}.taken")
    except FileNotFoundError:
        return None
    with open(f"{path}.taken") as file:
        return file.read().split()


def obey(run, say, kept, number, verb, argument):
    if verb in FATAL:
        run.set(32, "<Q", int(number))
    if verb == "exit":
        sys.exit(int(argument))
    elif verb == "die":
        os.kill(os.getpid(), int(argument))
    elif verb == "hang":
        run.set(40, "<d", now_s())
        time.sleep(100000)
    elif verb == "leak":
        kept.append(bytearray(b"x" * (int(argument) << 20)))
    elif verb == "flood":
        for _ in range(int(argument)):
            run.write(FLOOD)
            say(b"WATCHDOG=1")
    elif verb == "away":
        away(run.directory, run.name)
    elif verb == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        raise ValueError(verb)


def main():
    directory, name = sys.argv[1], os.environ["MAINSTAY_INSTANCE"].partition("@")[0].rpartition(".")[0]
    way = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    way.setblocking(False)
    run, kept = Run(directory, name, "run"), []

    def say(text):
        with suppress(OSError):  # nobody may be there to hear it
            way.sendto(text, os.environ["NOTIFY_SOCKET"])

    run.write(1)
    if sys.argv[2:] == ["once"]:
        sys.exit(1)
    way.settimeout(1.0)  # it is said only once
    say(b"READY=1")
    way.setblocking(False)
    while True:
        say(b"WATCHDOG=1")
        run.write(1)
        command = told(directory, name)
        if command is not None:
            obey(run, say, kept, *command)
        time.sleep(TICK_S)


if __name__ == "__main__":
    main()
