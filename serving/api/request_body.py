"""The body of a request: decompressed, and no larger than the limit."""

import zlib
from codecs import BOM_UTF8

from flask import Request

from serving import problems
from serving.api.csv_body import CHARSETS
from serving.model.records import SHOWN_CHARACTERS, count_containers
from serving.problems import Problem
from serving.settings import Settings

JSON = "application/json"
# Allowed in addition to the records, so that a slightly too large body still gets an exact error. A body of the maximum
# size could have millions of containers, which would take much memory if they were parsed.
SPARE_CONTAINERS = 20_000

GZIP = {"gzip", "x-gzip"}  # the same coding (RFC 9110, 8.4.1.3)
MAX_MEMBERS = 1000  # bgzip makes one of 64 kB; each costs time, however small it is
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_PORTION = 4096


def unsupported(media_type: str) -> Problem:
    """Return the answer to a body of another media type."""
    reason = f"the body is {media_type}" if media_type else "the request has no Content-Type"
    return Problem("unsupported-media-type", reason=reason)


def read_json(request: Request, settings: Settings) -> bytes:
    """Return the JSON in the body of ``request``, not too large to be parsed.

    Raises:
        Problem: the body is of another media type, too large, or not what its headers say.
    """
    if request.mimetype != JSON:
        raise unsupported(request.mimetype)
    data, limit = read(request, settings.max_body_bytes), settings.max_records
    if (found := count_containers(data, allowed := limit + SPARE_CONTAINERS)) > allowed:
        raise problems.too_many_records(found, limit, "the body has {} objects and arrays")
    return data.removeprefix(BOM_UTF8)


def read_csv(request: Request, settings: Settings) -> bytes:
    """Return the table in the body of ``request``, whose media type is CSV.

    Raises:
        Problem: the body is in another encoding, too large, or not what its headers say.
    """
    charset = request.mimetype_params.get("charset", "")
    if charset.lower() not in CHARSETS:
        raise unsupported(f"{request.mimetype} in {charset}")
    return read(request, settings.max_body_bytes)


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
