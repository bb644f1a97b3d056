"""Which of PM2's settings have nothing here to stand for them, and what is done instead?"""

from typing import Final

__all__ = ["ABSENT", "MOOT"]

_MODULES: Final = "part of PM2's own monitoring of node; use a tracing library in the program"
_WATCH: Final = "restarting at each change of a file is for development: use `node --watch` or the like there"

ABSENT: Final = {
    "watch": _WATCH,
    "ignore_watch": _WATCH,
    "watch_delay": _WATCH,
    "watch_options": _WATCH,
    "namespace": "name the apps of a group alike, or give it a directory with a mainstay.toml of its own",
    "name_prefix": "write it into the name",
    "filter_env": 'name what it must not have in the environment: command = ["env", "-u", "NAME", …]',
    "install_url": "install it before",
    "disable_logs": "logs are kept, and bounded by log_max_size and log_keep",
    "log_type": "`mainstay logs --json` gives each line as JSON",
    "pid_file": "`mainstay list --json` has the pid",
    "source_map_support": 'put "--enable-source-maps" before the script in the command',
    "shutdown_with_message": "it is told to end by stop_signal: listen to that signal",
    "execute_command": "write the whole command into `command`",
    "post_update": "run it where the program is updated",
    "trace": _MODULES,
    "v8": _MODULES,
    "event_loop_inspector": _MODULES,
    "deep_monitoring": _MODULES,
    "io": _MODULES,
}
"""What is not done here unless it is off anyway, and why or what to do."""

MOOT: Final = {
    "automation": "only PM2's own monitoring has it",
    "disable_source_map_support": "source maps are never touched here",
    "disable_trace": "only PM2's own monitoring has it",
    "force": "an app is known by its name here, not by its script",
    "kill_retry_time": "the end of a process is an event here, nothing is asked again and again",
    "pmx": "only PM2's own monitoring has it",
    "username": "PM2 writes it for itself; `user` says as whom it runs",
    "vizion": "the version control of a directory is not looked at here",
    "windowsHide": "there are no windows here",
    "write": "PM2 does not read it",
}
"""What makes no difference here, whatever its value."""
