"""What does an ecosystem file of PM2 mean here?

Pure. `translate` gives the apps as they are written into ``mainstay.toml``, and one `Entry` for each setting that
the file has: nothing is dropped in silence. Where PM2's default is another one than ours, PM2's is written out.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from mainstay.deploy.pm2.command import Look, take_command
from mainstay.deploy.pm2.keys import RULES, fill_in, rest
from mainstay.deploy.pm2.model import ALIASES, KEYS, Entry, Imported, Place, Verdict
from mainstay.deploy.pm2.translation import Translation
from mainstay.errors import ConfigError, nearest

__all__ = ["translate"]

_OF_THE_FILE: Final = {
    "deploy": "how a program gets onto a machine is no supervisor's work: see docs/how-to/deploy.md",
    "static": "let a web server serve files, or an app with the command `python3 -m http.server`",
}
_NAMED_APART: Final = ("name", "script", "exec_interpreter", "node_args", "args")
_LONGEST_NAME: Final = 63


def translate(
    config: object, *, place: Place, look: Look, env: str | None = None
) -> tuple[Sequence[Imported], Sequence[Entry]]:
    """The apps and the report.

    Args:
        config: what is in the file.
        place: where it is.
        look: says what a script is.
        env: the name of an environment of the file, whose ``env_NAME`` is added to ``env``.

    Raises:
        ConfigError: one line for each: a value that PM2 itself would not take, an environment that is not there,
            two apps of one name.
    """
    apps = _apps(config)
    if env is not None:
        _check_environment(env, apps)
    problems: list[str] = []
    done = [_translated(app, place, look, env, problems) for app in apps]
    for name, count in Counter(each.name for each in done).items():
        if count > 1:
            problems.append(f"{name}: {count} apps have this name: give each its own, or write instances = {count}")
    if problems:
        raise ConfigError(*problems)
    entries = [entry for each in done for entry in each.entries]
    return (
        [Imported(name=each.name, settings=each.settings) for each in done],
        [*entries, *_of_the_file(config)],
    )


def _apps(config: object) -> list[Mapping[str, object]]:
    """An ecosystem, a list of apps, or one app by itself."""
    found = (config.get("apps") or config.get("pm2") or config) if isinstance(config, Mapping) else config
    listed: list[object] = found if isinstance(found, list) else [found]
    apps = [app for app in listed if isinstance(app, Mapping) and app]
    if not apps or len(apps) < len(listed):
        raise ConfigError(
            'this is no ecosystem file: it has no app; write it like {"apps": [{"script": "app.js"}]}'
        )
    return apps


def _check_environment(env: str, apps: Sequence[Mapping[str, object]]) -> None:
    known = {key.removeprefix("env_") for app in apps for key in app if key.startswith("env_")}
    if env not in known:
        hint = nearest(env, known) if known else "; there is only `env`, which needs no --env"
        raise ConfigError(f"no app has env_{env}{hint}")


def _of_the_file(config: object) -> Iterator[Entry]:
    """What is not an app's."""
    if isinstance(config, Mapping) and (config.get("apps") or config.get("pm2")):
        for key in config:
            if key not in ("apps", "pm2"):
                note = _OF_THE_FILE.get(key) or f"PM2 does not know it either{nearest(key, _OF_THE_FILE)}"
                yield Entry(app="", key=str(key), verdict=Verdict.UNSUPPORTED, note=note)


def _translated(
    app: Mapping[str, object], place: Place, look: Look, env: str | None, problems: list[str]
) -> Translation:
    written, spelled = _canonical(app)
    name = _name(written, env)
    made = Translation(name=name, written=written, spelled=spelled, place=place, env=env)
    if "name" in written:
        changed = "" if str(written["name"]) == name else "letters, digits, '-' and '_' only"
        made.take("name", "the name", changed=changed)

    def attempt(key: str, rule: Callable[[], None]) -> None:
        try:
            rule()
        except ValueError as error:
            problems.append(f"{name}: {spelled.get(key, key)}: {error}")

    attempt("script", partial(take_command, made, look))
    for key, apply in RULES.items():
        if key in written:
            attempt(key, partial(apply, made, key, written[key]))
    for key in app:
        if app[key] is not None and key not in spelled.values():
            made.refuse_spelling(key)
    for key in written:
        if key not in RULES and key not in _NAMED_APART:
            attempt(key, partial(rest, made, key, written[key]))
    fill_in(made)
    order = list(app)
    made.entries.sort(key=lambda entry: order.index(entry.key))
    return made


def _canonical(app: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """The settings by their first names, and how each was spelled; the first name wins, as in PM2."""
    written: dict[str, object] = {}
    spelled: dict[str, str] = {}
    for key in sorted(app, key=lambda key: key not in KEYS):
        first = ALIASES.get(key, key)
        if app[key] is not None and first not in written:
            written[first], spelled[first] = app[key], key
    return written, spelled


def _name(written: Mapping[str, object], env: str | None) -> str:
    """PM2's, in the letters that a name may have here; by default the script's."""
    name = str(written.get("name") or PurePosixPath(str(written.get("script", ""))).stem)
    if written.get("append_env_to_name") is True and env:
        name += f"-{env}"
    kept = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "-" for char in name)
    kept = kept if kept[:1].isalpha() else f"app-{kept.strip('-')}"
    return kept.rstrip("-")[:_LONGEST_NAME]
