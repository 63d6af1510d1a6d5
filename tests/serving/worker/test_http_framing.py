"""Where a request ends: chunks of one byte, trailers, and empty lines before a request."""

import time

import pytest

from serving.worker.http_framing import CHUNKS_BYTES, FIRST_BYTES, RECEIVE_BYTES, Incoming, State

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("trailers", "state"),
    [
        (b"", State.COMPLETE),
        (b"X-Sum: 1\r\nY: \xe4\t2\r\n", State.COMPLETE),
        (b"no colon\r\n", State.BAD_CHUNK),
        (b"two words: 1\r\n", State.BAD_CHUNK),
        (b" folded: 1\r\n", State.BAD_CHUNK),
        (b"X: a\x00b\r\n", State.BAD_CHUNK),
        (b"X: a\nb\r\n", State.BAD_CHUNK),
        (b": 1\r\n", State.BAD_CHUNK),
    ],
)
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_trailers_are_checked(trailers: bytes, state: State, step: int) -> None:
    request, incoming = CHUNKED + b"1\r\nx\r\n0\r\n" + trailers + b"\r\n", Incoming(1000)

    for start in range(0, len(request), step):
        incoming.feed(request[start : start + step])

    assert incoming.state is state


@pytest.mark.parametrize("pieces", [(b"\r", b"\n"), (b"\r\n\r", b"\n"), (b"\r\n", b"\r", b"\n"), (b"\r\n\r\n",)])
def test_empty_lines_before_a_request_may_arrive_in_pieces(pieces: tuple[bytes, ...]) -> None:
    incoming = Incoming(1000)

    for piece in (*pieces, HEAD[:1], HEAD[1:] + b"\r\n"):
        assert incoming.state is State.PARTIAL
        incoming.feed(piece)

    assert (incoming.state, incoming.head) == (State.COMPLETE, HEAD + b"\r\n")


def test_a_carriage_return_alone_is_no_empty_line() -> None:
    assert Incoming(1000).feed(b"\rGET / HTTP/1.1\r\n") is State.COMPLETE  # gunicorn's parser refuses it


def test_small_chunks_are_read_in_small_portions_and_large_ones_at_once() -> None:
    incoming = Incoming(10_000_000)
    assert incoming.wanted() == FIRST_BYTES
    incoming.feed(CHUNKED)
    assert incoming.wanted() == CHUNKS_BYTES
    incoming.feed(b"1\r\nx\r\n" * 100)
    assert incoming.wanted() == CHUNKS_BYTES
    incoming.feed(b"186a0\r\nx")
    assert CHUNKS_BYTES < incoming.wanted() <= CHUNKS_BYTES + 100_010
    plain = Incoming(10_000_000)
    plain.feed(HEAD + b"Content-Length: 5000000\r\n\r\n")
    assert plain.wanted() == RECEIVE_BYTES


def test_the_cost_of_small_chunks_grows_with_their_number_only() -> None:
    def seconds(chunks: int) -> float:
        portion, incoming = b"1\r\nx\r\n" * (CHUNKS_BYTES // 6), Incoming(10_000_000)
        incoming.feed(CHUNKED)
        start = time.thread_time()
        for _ in range(chunks * 6 // len(portion)):
            incoming.feed(portion)
        return time.thread_time() - start

    assert min(seconds(80_000) for _ in range(3)) < 24 * min(seconds(10_000) for _ in range(3)), "8 times is linear"


def test_one_portion_costs_a_small_part_of_what_all_chunks_of_a_large_read_would() -> None:
    def seconds(data: bytes) -> float:
        incoming = Incoming(10_000_000)
        incoming.feed(CHUNKED)
        start = time.thread_time()
        incoming.feed(data)
        return time.thread_time() - start

    large = b"1\r\nx\r\n" * (RECEIVE_BYTES // 6)
    portion = large[: Incoming(1).wanted()]

    assert min(seconds(portion) for _ in range(5)) * 4 < min(seconds(large) for _ in range(5))
