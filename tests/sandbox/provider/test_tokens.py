from hypothesis import given
from hypothesis import strategies as st

from mainstay.sandbox.provider.model import Answer, ToolCall
from mainstay.sandbox.provider.tokens import ArgumentsPiece, TextPiece, pieces, split


@given(st.text() | st.text(alphabet="a1_ \n\t世,é"))
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(split(text)) == text
    assert all(split(text))


def test_a_token_is_a_word_or_one_other_character() -> None:
    assert split("Hello, 世界 again") == ["Hello", ",", " 世", "界", " again"]


def test_every_call_of_an_answer_is_sent_piece_by_piece() -> None:
    calls = (ToolCall(id="a", name="add", arguments='{"x": 1}'), ToolCall(id="b", name="now", arguments="{}"))
    sent = list(pieces(Answer(text="Let me see.", calls=calls)))
    assert "".join(piece.text for piece in sent if isinstance(piece, TextPiece)) == "Let me see."
    for index, call in enumerate(calls):
        mine = [piece.text for piece in sent if isinstance(piece, ArgumentsPiece) and piece.index == index]
        assert "".join(mine) == call.arguments
        assert len(mine) > 1
