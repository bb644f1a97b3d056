"""What of a text that a model wrote is Unicode?

Rows, and the JSON that is sent, hold nothing else.
"""

__all__ = ["well_formed"]


def well_formed(text: str) -> str:
    """The text as Unicode: halves of a pair that a model sent apart are joined, a lone half becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
