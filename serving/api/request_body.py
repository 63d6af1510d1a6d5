"""The body of a request: decompressed, and no larger than the limit."""

import zlib

from flask import Request

from serving import problems
from serving.model.records import SHOWN_CHARACTERS
from serving.problems import Problem

GZIP = {"gzip", "x-gzip"}  # the same coding (RFC 9110, 8.4.1.3)
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


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
    while True:  # a gzip file may have several members
        member = zlib.decompressobj(_GZIP_FORMAT)
        try:
            found += member.decompress(data, limit + 1 - len(found))
        except zlib.error:
            raise Problem("malformed-gzip") from None
        if len(found) > limit:
            raise problems.body_too_large(limit, " when decompressed")
        if not member.eof:  # incomplete; also an empty body
            raise Problem("malformed-gzip")
        data = member.unused_data
        if not data:
            return bytes(found)
