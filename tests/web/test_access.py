"""Who gets in: tokens, hosts, origins; and the file that the tokens are kept in."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.asgi import Scope
from mainstay.errors import ConfigError
from mainstay.settings import Secret
from mainstay.web.access import Access, _create, load_tokens

VIEWER, OPERATOR = "v" * 40, "o" * 40


def request(
    *headers: tuple[str, str], method: str = "GET", client: str = "127.0.0.1", host: str = "127.0.0.1:3000"
) -> Scope:
    named = [("host", host), *headers]
    return {
        "type": "http",
        "method": method,
        "client": (client, 5000),
        "headers": [(name.encode(), value.encode()) for name, value in named],
    }


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def cookie(token: str) -> tuple[str, str]:
    return "cookie", f"theme=dark; mainstay_token={token}"


def test_tokens_are_made_once_for_their_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = load_tokens(home)
    assert load_tokens(home) == first
    assert first.viewer != first.operator
    assert len(first.operator.reveal()) >= 43
    assert (home / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in home.iterdir()] == ["tokens.json"]


def test_tokens_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_tokens(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_at_once_agree_on_the_tokens(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mainstay.web.access import load_tokens;"
        "sys.stdin.read(); print(load_tokens(Path(sys.argv[1])).operator.reveal())"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    answers = set()
    for child in children:
        assert child.stdout is not None
        with child.stdout:
            answers.add(child.stdout.read())
        assert child.wait() == 0
    assert len(answers) == 1


def test_tokens_that_another_process_has_just_made_hold(tmp_path: Path) -> None:
    first = load_tokens(tmp_path)
    _create(tmp_path / "tokens.json")
    assert load_tokens(tmp_path) == first


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_tokens_that_others_may_read_or_write_are_refused(tmp_path: Path, mode: int) -> None:
    load_tokens(tmp_path)
    (tmp_path / "tokens.json").chmod(mode)
    with pytest.raises(ConfigError, match=f"tokens.json: others may read it .mode {mode:04o}.: delete it"):
        load_tokens(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "{}",
        json.dumps({"viewer": VIEWER}),
        json.dumps({"viewer": VIEWER, "operator": VIEWER}),
        json.dumps({"viewer": VIEWER, "operator": ""}),
        json.dumps({"viewer": VIEWER, "operator": "short"}),
        json.dumps({"viewer": VIEWER, "operator": 5}),
        json.dumps({"viewer": VIEWER, "operator": "ä" * 40}),
        "\xff",
    ],
)
def test_a_file_with_anything_else_in_it_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(content.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: must hold .*: delete it") as caught:
        load_tokens(tmp_path)
    assert VIEWER not in str(caught.value)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    load_tokens(tmp_path / "elsewhere")
    (tmp_path / "tokens.json").symlink_to(tmp_path / "elsewhere" / "tokens.json")
    with pytest.raises(ConfigError, match=r"tokens\.json: can not be read"):
        load_tokens(tmp_path)


@pytest.mark.parametrize(
    ("shown", "role"),
    [
        ([bearer(VIEWER)], "viewer"),
        ([bearer(OPERATOR)], "operator"),
        ([("authorization", f"bearer  {OPERATOR} ")], "operator"),
        ([cookie(VIEWER)], "viewer"),
        ([cookie(OPERATOR)], "operator"),
        ([], None),
        ([bearer("")], None),
        ([bearer("x" * 40)], None),
        ([bearer(OPERATOR[:-1])], None),
        ([bearer(OPERATOR + "o")], None),
        ([bearer("ä" * 40)], None),
        ([("authorization", f"Basic {OPERATOR}")], None),
        ([("authorization", OPERATOR)], None),
        ([bearer("x"), bearer(OPERATOR)], None),
        ([("cookie", f"xmainstay_token={OPERATOR}")], None),
    ],
)
def test_a_token_gives_its_role(access: Access, shown: list[tuple[str, str]], role: str | None) -> None:
    assert access.role(request(*shown)) == role


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:3000", True),
        ("localhost", True),
        ("LOCALHOST:3000", True),
        ("[::1]:3000", True),
        ("[::1]", True),
        ("bot.example", True),
        ("Bot.Example:443", True),
        ("10.1.2.3:3000", True),
        ("attacker.example", False),
        ("localhost.attacker.example", False),
        ("127.0.0.1.attacker.example", False),
        ("bot.example.attacker.example:3000", False),
        ("localhost:3000:x", False),
        ("", False),
    ],
)
def test_only_names_that_nobody_else_can_point_here_are_known(access: Access, host: str, known: bool) -> None:
    assert access.knows_host(request(host=host)) is known


def test_a_request_with_two_hosts_is_for_neither(access: Access) -> None:
    assert not access.knows_host(request(("host", "localhost")))


SAME = ("origin", "http://127.0.0.1:3000")
FOREIGN = ("origin", "http://attacker.example")


@pytest.mark.parametrize(
    ("method", "headers", "same"),
    [
        ("GET", [], True),
        ("GET", [cookie(OPERATOR)], True),
        ("POST", [bearer(OPERATOR)], True),
        ("POST", [bearer(OPERATOR), SAME], True),
        ("POST", [cookie(OPERATOR), SAME], True),
        ("POST", [cookie(OPERATOR)], False),
        ("POST", [cookie(OPERATOR), FOREIGN], False),
        ("POST", [bearer(OPERATOR), FOREIGN], False),
        ("GET", [cookie(OPERATOR), FOREIGN], False),
        ("POST", [cookie(OPERATOR), ("origin", "null")], False),
        ("POST", [cookie(OPERATOR), ("origin", "")], False),
        ("POST", [cookie(OPERATOR), ("origin", "http://127.0.0.1:4000")], False),
        ("POST", [cookie(OPERATOR), SAME, FOREIGN], False),
        ("GET", [cookie(OPERATOR), SAME, FOREIGN], False),
    ],
)
def test_no_foreign_page_can_use_a_cookie(
    access: Access, method: str, headers: list[tuple[str, str]], same: bool
) -> None:
    assert access.is_same_origin(request(*headers, method=method)) is same


@pytest.mark.parametrize(
    ("scope", "trusted"),
    [
        (request(), True),
        (request(client="::1", host="[::1]:3000"), True),
        (request(client="::ffff:127.0.0.1", host="localhost"), True),
        (request(client="10.0.0.7"), False),
        (request(("x-forwarded-for", "127.0.0.1")), False),
        (request(("x-forwarded-proto", "https")), False),
        (request(("forwarded", "for=127.0.0.1")), False),
        (request(("via", "1.1 x")), False),
        (request(("x-real-ip", "127.0.0.1")), False),
        (request(host="attacker.example"), False),
        (request(bearer(VIEWER), ("x-forwarded-for", "10.0.0.7"), host="bot.example"), True),
        (request(bearer(OPERATOR), client="10.0.0.7"), True),
        (request(bearer("x" * 40), client="10.0.0.7"), False),
        (request(cookie(VIEWER), client="10.0.0.7", host="attacker.example"), False),
        (request() | {"client": None}, False),
    ],
)
def test_details_are_for_token_holders_and_direct_callers_here(access: Access, scope: Scope, trusted: bool) -> None:
    assert access.trusted(scope) is trusted


def test_a_page_gets_a_cookie_that_no_script_and_no_other_site_can_use(access: Access) -> None:
    name, value = access.cookie(Secret(VIEWER), secure=True)
    assert name == b"set-cookie"
    assert value == f"mainstay_token={VIEWER}; HttpOnly; SameSite=Strict; Path=/; Secure".encode()
