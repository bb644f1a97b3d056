"""Is this request from Feishu, and what does it say?

The platform encrypts with AES-256-CBC under SHA-256 of the app's Encrypt Key (the first 16 bytes are the IV, the
padding is PKCS#7) and signs ``timestamp + nonce + key + raw body`` with SHA-256. CBC authenticates nothing, so a
body is only decrypted for its content after its signature holds; see `mainstay.channels.feishu.webhook`.
"""

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["decrypt", "older_signature", "same", "signature"]


def signature(timestamp: str, nonce: str, key: str, body: bytes) -> str:
    """What ``X-Lark-Signature`` must be for exactly these bytes."""
    return hashlib.sha256(f"{timestamp}{nonce}{key}".encode() + body).hexdigest()


def older_signature(timestamp: str, nonce: str, token: str, body: bytes) -> str:
    """The same for a press in its older form: with the Verification Token, and SHA-1, as the platform has it."""
    return hashlib.sha1(f"{timestamp}{nonce}{token}".encode() + body).hexdigest()  # noqa: S324


def same(given: str, expected: str) -> bool:
    """Compare in constant time, whatever was given."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def decrypt(key: str, encrypted: str) -> bytes:
    """The plain bytes of an ``encrypt`` field.

    Raises:
        ValueError: if it is not base64, not whole blocks, or wrongly padded. The message never says which.
    """
    try:
        data = base64.b64decode(encrypted, validate=True)
        cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(data[:16]))
        decryptor = cipher.decryptor()
        padded = decryptor.update(data[16:]) + decryptor.finalize()
        unpadder = padding.PKCS7(128).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise ValueError("the body can not be decrypted") from None
