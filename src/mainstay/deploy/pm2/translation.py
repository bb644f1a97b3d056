"""What was found out so far about one app of an ecosystem file?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mainstay.deploy.pm2.model import ALIASES, Entry, Place, Setting, Verdict

__all__ = ["Translation"]


@dataclass(slots=True, kw_only=True)
class Translation:
    """One app on its way into ``mainstay.toml``.

    Attributes:
        name: the app's, here.
        written: its settings by PM2's first name for each.
        spelled: how each was spelled in the file.
        place: where the file is.
        env: the environment that was asked for.
        settings: what is written so far.
        entries: the report so far.
    """

    name: str
    written: Mapping[str, object]
    spelled: Mapping[str, str]
    place: Place
    env: str | None
    settings: dict[str, Setting] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        """The words that start it; of an app without a script there is one."""
        command = self.settings.get("command")
        return [str(word) for word in command] if isinstance(command, list) else [""]

    def add_variables(self, variables: Mapping[str, str]) -> None:
        """Into its environment; those that come later win."""
        env = self.settings.get("env")
        self.settings["env"] = {**(env if isinstance(env, dict) else {}), **variables}

    def take(self, key: str, becomes: str = "", value: Setting | None = None, *, changed: str = "") -> None:
        """It is taken, as this setting if there is one; ``changed``: what is different about it."""
        if becomes and value is not None:
            self.settings[becomes] = value
        self._report(key, Verdict.CHANGED if changed else Verdict.TAKEN, becomes, changed)

    def as_here(self, key: str, note: str) -> None:
        """It is how things are here anyway."""
        self._report(key, Verdict.TAKEN, "", note)

    def refuse(self, key: str, note: str) -> None:
        """It is not taken."""
        self._report(key, Verdict.UNSUPPORTED, "", note)

    def refuse_spelling(self, spelling: str) -> None:
        """It says again what another spelling says already."""
        note = f"{ALIASES[spelling]} is there, which PM2 takes in its place"
        self.entries.append(Entry(app=self.name, key=spelling, verdict=Verdict.UNSUPPORTED, note=note))

    def _report(self, key: str, verdict: Verdict, becomes: str, note: str) -> None:
        self.entries.append(
            Entry(app=self.name, key=self.spelled[key], verdict=verdict, becomes=becomes, note=note)
        )
