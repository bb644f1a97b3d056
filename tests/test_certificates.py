"""The clients of a process trust what the machine trusts, and read it once."""

import ast
import inspect
import ssl
from pathlib import Path

import httpcore2
import pytest

import mainstay
from mainstay.certificates import trusted

HOUSE = Path(mainstay.__file__).parent
CLIENTS = {"AsyncClient", "Client", "AsyncHTTPTransport", "HTTPTransport"}


def test_they_are_read_once_and_a_stranger_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpcore2, "default_ssl_context", inspect.unwrap(httpcore2.default_ssl_context))
    trusted.cache_clear()
    context = trusted()
    assert trusted() is context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_no_client_of_ours_reads_them_for_itself() -> None:
    calls = [
        (f"{path.relative_to(HOUSE)}:{node.lineno}", {each.arg for each in node.keywords})
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLIENTS
        and ast.unparse(node.func.value) == "httpx2"
    ]
    assert len(calls) > 5
    assert [where for where, given in calls if not given & {"verify", "transport"}] == []
