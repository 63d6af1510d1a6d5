"""The body of a request: decompressed, and no larger than the limit."""

import zlib

from flask import Request

from serving import problems
from serving.model.records import SHOWN_CHARACTERS
from serving.problems import Problem

GZIP = {"gzip", "x-gzip"}  # the same coding (RFC 9110, 8.4.1.3)
MAX_MEMBERS = 1000  # bgzip makes one of 64 kB; each costs time, however small it is
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_PORTION = 4096


def read(request: Request, limit: int) -> bytes:
    """Return the body of ``request``.

    Raises:
        Problem: it has more than ``limit`` bytes as sent or decompressed, it is not the gzip that its header says, or
            it has another content coding.
    """
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise problems.body_too_large(limit)
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding in GZIP:
        return _gunzip(data, limit)
    if coding not in ("", "identity"):
        raise Problem("unsupported-content-coding", found=coding[:SHOWN_CHARACTERS])
    return data


def _gunzip(data: bytes, limit: int) -> bytes:
    found = bytearray()
    members, start = 0, 0
    while start < len(data):  # a gzip file may have several members
        members += 1
        if members > MAX_MEMBERS:
            raise Problem(
                "content-too-large",
                reason=f"the body has more than {MAX_MEMBERS} gzip members",
                limit=f"{MAX_MEMBERS} gzip members",
            )
        start += _member(memoryview(data)[start:], found, limit)
    if not members:
        raise Problem("malformed-gzip")
    return bytes(found)


def _member(data: memoryview, found: bytearray, limit: int) -> int:
    """Append the content of the first member of ``data`` to ``found``, and return the member's size."""
    member, position = zlib.decompressobj(_GZIP_FORMAT), 0
    while not member.eof:
        # in portions: what follows the member is copied with the portion in which it ends
        portion = member.unconsumed_tail or data[position : position + _PORTION]
        if not portion:
            raise Problem("malformed-gzip")  # incomplete
        position += 0 if member.unconsumed_tail else len(portion)
        try:
            found += member.decompress(portion, limit + 1 - len(found))
        except zlib.error:
            raise Problem("malformed-gzip") from None
        if len(found) > limit:
            raise problems.body_too_large(limit, " when decompressed")
    return position - len(member.unused_data)
