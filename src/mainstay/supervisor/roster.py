"""Which instances are there to be, and what of that is not in the configuration?

Pure. The configuration says how many instances an app has. `mainstay scale` says another number, which holds until
the app is deleted or the configuration's own number becomes another one. `mainstay delete` says that there is to be
none, until the app is started again. And what the configuration does not name any more goes on as it is, until it
is stopped or deleted.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.naming import app_of, instance_name, number_of

__all__ = ["Remains", "Roster", "Scaled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """How many instances somebody wanted, and in place of how many."""

    count: int
    instead_of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What has to be known of an app's settings to let it run on, and to end it, without its configuration."""

    out_file: str = ""
    error_file: str = ""
    log_combined: bool = False
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 10.0

    def settings(self) -> AppSettings:
        """It is not started again: with what, is not known."""
        return AppSettings(
            command=("it is not in the configuration any more",),
            autorestart=False,
            out_file=self.out_file,
            error_file=self.error_file,
            log_combined=self.log_combined,
            stop_signal=self.stop_signal,
            stop_timeout=self.stop_timeout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """What was asked for beside the configuration; kept over the daemon's death.

    Attributes:
        scaled: by app.
        deleted: apps.
        remains: by app, of all that may still run when the configuration has changed.
    """

    scaled: Mapping[str, Scaled] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    remains: Mapping[str, Remains] = field(default_factory=dict)

    def count(self, app: str, settings: AppSettings) -> int:
        """How many instances of it there are to be."""
        if app in self.deleted:
            return 0
        scaled = self.scaled.get(app)
        return scaled.count if scaled and scaled.instead_of == settings.instances else settings.instances

    def names(self, apps: Mapping[str, AppSettings]) -> list[str]:
        """The instances that there are to be."""
        return [instance_name(app, n) for app, settings in apps.items() for n in range(self.count(app, settings))]

    def has(self, name: str, apps: Mapping[str, AppSettings]) -> bool:
        """Whether there is to be this instance."""
        app = app_of(name)
        return app in apps and number_of(name) < self.count(app, apps[app])

    def scale(self, app: str, count: int, settings: AppSettings) -> "Roster":
        """From now on there are to be so many."""
        scaled = {**self.scaled, app: Scaled(count=count, instead_of=settings.instances)}
        return replace(self, scaled=scaled)

    def delete(self, apps: Collection[str]) -> "Roster":
        """From now on there is to be none of these, nor is it known how many somebody wanted."""
        scaled = {app: each for app, each in self.scaled.items() if app not in apps}
        return replace(self, scaled=scaled, deleted=tuple(dict.fromkeys((*self.deleted, *apps))))

    def restore(self, apps: Collection[str]) -> "Roster":
        """These were not deleted."""
        return replace(self, deleted=tuple(app for app in self.deleted if app not in apps))

    def remember(self, apps: Mapping[str, AppSettings], running: Iterable[str]) -> "Roster":
        """What remains of these apps where they are among those that run."""
        remains = {
            app: Remains(
                out_file=settings.out_file,
                error_file=settings.error_file,
                log_combined=settings.log_combined,
                stop_signal=settings.stop_signal,
                stop_timeout=settings.stop_timeout,
            )
            for app in dict.fromkeys(running)
            if (settings := apps.get(app)) is not None
        }
        return replace(self, remains=remains)
