"""What HTTP libraries raise over real sockets is the same: refused, cut, silent, half, and not to be trusted."""

import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anthropic
import httpx
import httpx2
import openai
import pytest
import requests
import websockets.sync.client
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainstay.errors import Category
from mainstay.recovery.classify import classify
from mainstay.recovery.model import TRAITS, Traits

Client = Callable[[str, float], None]

SOON_S = 0.2
GIVEN_UP_S = 30.0
HALF = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@contextmanager
def refusing() -> Iterator[str]:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel accepts, and nobody answers
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def saying(reply: bytes) -> Callable[[], AbstractContextManager[str]]:
    """A server that gives this to each request and hangs up."""

    @contextmanager
    def served() -> Iterator[str]:
        with listening(lambda connection: (connection.recv(65536), connection.sendall(reply))) as port:
            yield f"http://127.0.0.1:{port}"

    return served


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                serve(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(GIVEN_UP_S)


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file: Path = tmp_path_factory.mktemp("tls") / "pair.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def with_httpx(url: str, timeout_s: float) -> None:
    httpx.get(url, timeout=timeout_s).raise_for_status().read()


def with_httpx2(url: str, timeout_s: float) -> None:
    httpx2.get(url, timeout=timeout_s).raise_for_status().read()


def with_requests(url: str, timeout_s: float) -> None:
    requests.get(url, timeout=timeout_s).raise_for_status()


def with_urllib(url: str, timeout_s: float) -> None:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        response.read()


def with_openai(url: str, timeout_s: float) -> None:
    with openai.OpenAI(api_key="x", base_url=url, max_retries=0, timeout=timeout_s) as client:
        client.models.list()


def with_anthropic(url: str, timeout_s: float) -> None:
    with anthropic.Anthropic(api_key="x", base_url=url, max_retries=0, timeout=timeout_s) as client:
        client.models.list()


def with_websockets(url: str, timeout_s: float) -> None:
    context = ssl.create_default_context() if url.startswith("https") else None
    websockets.sync.client.connect(url.replace("http", "ws", 1), open_timeout=timeout_s, ssl=context).close()


CLIENTS = [with_httpx, with_httpx2, with_requests, with_urllib, with_openai, with_anthropic, with_websockets]


def raised(client: Client, url: str, timeout_s: float = GIVEN_UP_S) -> Exception:
    try:
        client(url, timeout_s)
    except Exception as error:  # noqa: BLE001  what it is, is the question
        return error
    pytest.fail("no error")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("server", "category"),
    [
        pytest.param(refusing, Category.CONNECTION, id="refused"),
        pytest.param(saying(b""), Category.CONNECTION, id="hung up"),
        pytest.param(saying(b"no HTTP at all\r\n\r\n"), Category.CONNECTION, id="no HTTP"),
        pytest.param(silent, Category.TIMEOUT, id="silent"),
        pytest.param(saying(BUSY), Category.RATE_LIMIT, id="busy"),
    ],
)
def test_each_library_says_the_same_of_the_same_server(
    client: Client, server: Callable[[], AbstractContextManager[str]], category: Category
) -> None:
    with server() as url:
        failure = classify(raised(client, url, SOON_S if server is silent else GIVEN_UP_S))
    assert (failure.category, failure.traits) == (category, TRAITS[category])
    assert failure.retry_after_s == (7.0 if category is Category.RATE_LIMIT else None)


@pytest.mark.parametrize("client", [each for each in CLIENTS if each is not with_websockets])
def test_half_an_answer_is_a_lost_connection(client: Client) -> None:
    with saying(HALF)() as url:
        assert classify(raised(client, url)).category is Category.CONNECTION


@pytest.mark.parametrize("client", CLIENTS)
def test_a_certificate_that_is_not_accepted_is_never_tried_again_but_another_model_may_do(
    client: Client, self_signed: ssl.SSLContext
) -> None:
    def shake_hands(connection: socket.socket) -> None:
        with self_signed.wrap_socket(connection, server_side=True):
            pass

    with listening(shake_hands) as port:
        failure = classify(raised(client, f"https://127.0.0.1:{port}"))
    assert failure.category is Category.CONNECTION
    assert failure.traits == Traits(fallback=True, retries=0, counts=True)
