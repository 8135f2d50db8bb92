from __future__ import annotations

from laraq_redis.client.resp import ErrorReply, Push, Reader

SAID = (
    b"*2\r\n$3\r\na\r\n\r\n:12\r\n>2\r\n+invalidate\r\n*1\r\n$1\r\nq\r\n,1.5\r\n_\r\n"
    b"-ERR no\r\n%1\r\n+k\r\n(7\r\n$-1\r\n"
)
MEANT = [[b"a\r\n", 12], [b"invalidate", [b"q"]], 1.5, None, "ERR no", [b"k", 7], None]


def test_values_are_read_whatever_pieces_they_come_in() -> None:
    for size in (1, 2, 7, len(SAID)):
        reader = Reader()
        pieces = [SAID[at : at + size] for at in range(0, len(SAID), size)]
        assert [value for piece in pieces for value in reader.feed(piece)] == MEANT


def test_pushes_and_errors_are_told_from_answers() -> None:
    values = list(Reader().feed(SAID))
    assert [type(value) for value in values[1:5]] == [Push, float, type(None), ErrorReply]
