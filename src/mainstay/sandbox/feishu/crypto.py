"""How does the platform seal what it sends?

AES-256-CBC with PKCS 7 under the SHA-256 of the Encrypt Key, the initialisation vector in front, all in base64;
and a signature that is the plain SHA-256 of timestamp, nonce, key and the raw body. Both as the platform documents
its events; the tests hold the documentation's own vector and the official SDK against it.
"""

import base64
import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

__all__ = ["encrypt", "sign", "sign_older"]

_BLOCK_BYTES = 16


def encrypt(key: str, plain: bytes, iv: bytes) -> str:
    """The value of ``{"encrypt": …}``; ``iv`` is 16 random bytes, new for every event."""
    padder = PKCS7(_BLOCK_BYTES * 8).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(iv)).encryptor()
    return base64.b64encode(iv + encryptor.update(padded) + encryptor.finalize()).decode()


def sign(timestamp: str, nonce: str, key: str, body: bytes) -> str:
    """The value of ``X-Lark-Signature`` for this raw body."""
    return hashlib.sha256((timestamp + nonce + key).encode() + body).hexdigest()


def sign_older(timestamp: str, nonce: str, token: str, body: bytes) -> str:
    """The same for a press in its older form, which is signed with the Verification Token."""
    return hashlib.sha1((timestamp + nonce + token).encode() + body).hexdigest()  # noqa: S324
