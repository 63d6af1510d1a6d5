"""The members of gunicorn that the service's worker overrides, uses or relies on, as they were audited.

``PYTHONPATH=. python -m tests.serving.worker.audited`` prints the table as it would be for the installed gunicorn.
"""

import ast
import hashlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Literal

import gunicorn
from gunicorn.config import make_settings

VERSION = "26.2.0"
INSTRUCTIONS = """\
gunicorn is not what serving/worker/ was audited on. Do this, or run the service on the stock worker with
HEARTLINE_WORKER=gthread until it is done:
1. Read gunicorn's changelog since {audited}, and the source of each member named below.
2. For an overridden member: does ours still do all that gunicorn's callers expect? For a used or relied-on member:
   is it still called at the same point, from the same thread, with the same meaning?
3. Run: python -m pytest tests/serving/worker tests/serving/api tests/serving/test_gunicorn.py
4. Update VERSION and MEMBERS in tests/serving/worker/audited.py (its module prints the table), and
   serving/worker/README.md.
"""
Use = Literal["overridden", "used", "relied on"]


@dataclass(frozen=True)
class Member:
    """A member of gunicorn.

    Attributes:
        use: ``overridden`` by a method or attribute of ours; ``used`` by our code; or ``relied on`` without being
            named in our code.
        signature: of a function or method; empty for a class, and for an attribute that is set on instances.
        sha256: first 12 digits of the digest of its source; empty where only its existence matters.
    """

    use: Use
    signature: str = ""
    sha256: str = ""


MEMBERS: dict[str, Member] = {
    "gunicorn.workers.gthread:ThreadWorker.__init__": Member("overridden", "(self, *args, **kwargs)", "5681b8b542ea"),
    "gunicorn.workers.gthread:ThreadWorker.check_config": Member("overridden", "(cls, cfg, log)", "677dafbcca4e"),
    "gunicorn.workers.gthread:ThreadWorker.load_wsgi": Member("overridden", "(self)", "18b02fc35e96"),
    "gunicorn.workers.gthread:ThreadWorker.accept": Member("overridden", "(self, listener)", "f8dcead3dce5"),
    "gunicorn.workers.gthread:ThreadWorker.set_accept_enabled": Member("overridden", "(self, enabled)", "140150ebfd3c"),
    "gunicorn.workers.gthread:ThreadWorker.murder_keepalived": Member("overridden", "(self)", "fa9a01fbf2ab"),
    "gunicorn.workers.gthread:ThreadWorker.finish_request": Member("overridden", "(self, conn, fs)", "b9a75d3c2fba"),
    "gunicorn.workers.gthread:ThreadWorker.handle_request": Member("overridden", "(self, req, conn)", "a3ccb3ba1b4d"),
    "gunicorn.workers.gthread:ThreadWorker.handle_error": Member(
        "overridden", "(self, req, client, addr, exc)", "3585cda4f8fe"
    ),
    "gunicorn.workers.gthread:TConn.__init__": Member(
        "overridden", "(self, cfg, sock, client, server)", "c8763d7c6597"
    ),
    "gunicorn.workers.gthread:TConn.init": Member("overridden", "(self)", "5ff3d4ba451c"),
    "gunicorn.workers.gthread:ThreadWorker.handle": Member("used", "(self, conn)", "ca85c9be3df7"),
    "gunicorn.workers.gthread:ThreadWorker.age": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.alive": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.cfg": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker._accepting": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.keepalived_conns": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.pending_conns": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.sockets": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.is_parent_alive": Member("used", "(self)", "3517612f7763"),
    "gunicorn.workers.gthread:ThreadWorker.on_client_socket_readable": Member(
        "used", "(self, conn, client)", "aead1a3ea7b7"
    ),
    "gunicorn.workers.gthread:ThreadWorker.on_pending_socket_readable": Member(
        "used", "(self, conn, client)", "2475f7087832"
    ),
    "gunicorn.workers.gthread:ThreadWorker.method_queue": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.nr_conns": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.pid": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.poller": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.tpool": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.worker_connections": Member("used"),
    "gunicorn.workers.gthread:ThreadWorker.wsgi": Member("used"),
    "gunicorn.workers.gthread:PollableMethodQueue.defer": Member("used", "(self, callback, *args)", "4d722900967b"),
    "gunicorn.workers.gthread:TConn.cfg": Member("used"),
    "gunicorn.workers.gthread:TConn.timeout": Member("used"),
    "gunicorn.workers.gthread:TConn.client": Member("used"),
    "gunicorn.workers.gthread:TConn.data_ready": Member("used"),
    "gunicorn.workers.gthread:TConn.initialized": Member("used"),
    "gunicorn.workers.gthread:TConn.parser": Member("used"),
    "gunicorn.workers.gthread:TConn.sock": Member("used"),
    "gunicorn.workers.gthread:TConn.close": Member("used", "(self, graceful=False)", "6d1c334ed197"),
    "gunicorn.http:get_parser": Member("used", "(cfg, source, source_addr, http2_connection=False)", "b7d8dcde91e2"),
    "gunicorn.http.message:Request.body": Member("used"),
    "gunicorn.http.message:Request._expected_100_continue": Member("used"),
    "gunicorn.http.body:Body.reader": Member("used"),
    "gunicorn.http.body:LengthReader.length": Member("used"),
    "gunicorn.http.wsgi:Response.force_close": Member("used", "(self)", "656092cce3c3"),
    "gunicorn.http.wsgi:Response.should_close": Member("relied on", "(self)", "3888d47a96e2"),
    "gunicorn.http.wsgi:Response.start_response": Member(
        "relied on", "(self, status, headers, exc_info=None)", "eb0975335750"
    ),
    "gunicorn.http.wsgi:default_environ": Member("relied on", "(req, sock, cfg)", "b7e18b84d829"),
    "gunicorn.util:http_date": Member("used", "(timestamp=None)", "c67e491c15bd"),
    "gunicorn.config:Config.is_ssl": Member("used", "(self)", "209bc8c1d463"),
    "gunicorn.config:Config.worker_class": Member("used", "(self)", "960f9a1b4165"),
    "gunicorn.config:Config.worker_class_str": Member("used", "(self)", "bc7a9cf15dc6"),
    "gunicorn.config:Config.address": Member("used", "(self)", "43d3ba1561d1"),
    "gunicorn.http.errors:LimitRequestHeaders": Member("used", "", "a7825c75c6b2"),
    "gunicorn.http.errors:LimitRequestLine": Member("used", "", "8cc8b670805a"),
    "gunicorn.http.errors:ParseException": Member("used", "", "e95735be2b89"),
    "gunicorn.http.errors:UnsupportedTransferCoding": Member("used", "", "fc91143b1cec"),
    "gunicorn.arbiter:Arbiter.SIG_QUEUE": Member("used"),
    "gunicorn.arbiter:Arbiter.app": Member("used"),
    "gunicorn.arbiter:Arbiter.master_pid": Member("used"),
    "gunicorn.arbiter:Arbiter.reexec_pid": Member("used"),
    "gunicorn.arbiter:Arbiter.signal": Member("used", "(self, sig, frame)", "8b193e95e16a"),
    "gunicorn.arbiter:Arbiter.stop": Member("relied on", "(self, graceful=True)", "7138b6afd9c4"),
    "gunicorn.arbiter:Arbiter.reload": Member("relied on", "(self)", "fec344d2f774"),
    "gunicorn.arbiter:Arbiter.systemd": Member("used"),
    "gunicorn.arbiter:Arbiter.cfg": Member("used"),
    "gunicorn.arbiter:Arbiter.num_workers": Member("used"),
    "gunicorn.arbiter:Arbiter.worker_age": Member("used"),
    "gunicorn.app.base:BaseApplication.wsgi": Member("used", "(self)", "4663ccc8ece6"),
    "gunicorn.workers.gthread:ThreadWorker.init_process": Member("relied on", "(self)", "e4fc63a1a68e"),
    "gunicorn.workers.gthread:ThreadWorker.run": Member("relied on", "(self)", "e50ebf2d88b1"),
    "gunicorn.workers.gthread:ThreadWorker.wait_for_and_dispatch_events": Member(
        "overridden", "(self, timeout)", "ea969b352482"
    ),
    "gunicorn.workers.gthread:ThreadWorker._keepalive_after": Member(
        "relied on", "(self, conn, keepalive)", "4ebdbbc8bf5a"
    ),
    "gunicorn.workers.gthread:ThreadWorker.murder_pending": Member("overridden", "(self)", "7bf11f464542"),
    "gunicorn.workers.gthread:ThreadWorker.handle_exit": Member("relied on", "(self, sig, frame)", "b4e7decd4f92"),
    "gunicorn.workers.gthread:ThreadWorker.handle_quit": Member("relied on", "(self, sig, frame)", "36bd35a8dae5"),
    "gunicorn.workers.gthread:PollableMethodQueue.run_callbacks": Member(
        "relied on", "(self, _fileobj, max_callbacks=50)", "2583376785b0"
    ),
    "gunicorn.http.parser:Parser.__init__": Member("relied on", "(self, cfg, source, source_addr)", "604084ecb33b"),
    "gunicorn.http.parser:Parser.__next__": Member("relied on", "(self)", "9ade6150140d"),
    "gunicorn.http.parser:Parser.finish_body": Member(
        "relied on", "(self, deadline=None, max_bytes=None)", "99c2fb5b9580"
    ),
    "gunicorn.http.unreader:SocketUnreader.chunk": Member("relied on", "(self)", "89fd6eb6d4b1"),
    "gunicorn.http.unreader:Unreader.read": Member("relied on", "(self, size=None)", "6cc334141224"),
    "gunicorn.http.message:Request.parse": Member("relied on", "(self, unreader)", "34c084607ae1"),
    "gunicorn.http.message:Request.set_body_reader": Member("relied on", "(self)", "db5c46d4c717"),
    "gunicorn.http.message:Request.should_close": Member("relied on", "(self)", "90269211105a"),
    "gunicorn.http.message:Message.set_body_reader": Member("relied on", "(self)", "ae314b553db5"),
    "gunicorn.http.message:Message.parse_headers": Member(
        "relied on", "(self, data, from_trailer=False)", "fe09a6b5e706"
    ),
    "gunicorn.http.body:Body.read": Member("used", "(self, size=None)", "fc1375d3ddfc"),
    "gunicorn.http.body:LengthReader.read": Member("relied on", "(self, size)", "fc91f195060d"),
    "gunicorn.http.body:ChunkedReader.read": Member("relied on", "(self, size)", "1aa9df6c4dcb"),
    "gunicorn.http.wsgi:create": Member(
        "relied on", "(req, sock, client, server, cfg, response_class=None, response_args=())", "aaadff15e88a"
    ),
    "gunicorn.http.wsgi:Response.default_headers": Member("relied on", "(self)", "cb490cea5d6f"),
    "gunicorn.http.wsgi:Response.write": Member("relied on", "(self, arg)", "a13659ff072c"),
    "gunicorn.util:close": Member("relied on", "(sock)", "ce55cfa95222"),
    "gunicorn.arbiter:Arbiter.spawn_worker": Member("relied on", "(self)", "980b34bd12b9"),
    "gunicorn.arbiter:Arbiter.reap_workers": Member("relied on", "(self)", "ebcf4187e9eb"),
    "setting:accesslog": Member("used"),
    "setting:wsgi_app": Member("used"),
    "setting:bind": Member("used"),
    "setting:workers": Member("used"),
    "setting:worker_class": Member("used"),
    "setting:threads": Member("used"),
    "setting:preload_app": Member("used"),
    "setting:timeout": Member("used"),
    "setting:graceful_timeout": Member("used"),
    "setting:keepalive": Member("used"),
    "setting:backlog": Member("used"),
    "setting:worker_connections": Member("used"),
    "setting:limit_request_fields": Member("used"),
    "setting:limit_request_field_size": Member("used"),
    "setting:limit_request_line": Member("used"),
    "setting:control_socket_disable": Member("used"),
    "setting:worker_tmp_dir": Member("used"),
    "setting:on_starting": Member("used", "(server)"),
    "setting:when_ready": Member("used", "(server)"),
    "setting:pre_fork": Member("used", "(server, worker)"),
    "setting:post_fork": Member("used", "(server, worker)"),
    "setting:child_exit": Member("used", "(server, worker)"),
    "setting:post_worker_init": Member("used", "(worker)"),
    "setting:worker_exit": Member("used", "(server, worker)"),
}


def problems(members: Mapping[str, Member], version: str) -> list[str]:
    """Return one line for each difference between the audited members and those of the installed gunicorn."""
    found = [] if gunicorn.__version__ == version else [f"the version is {gunicorn.__version__}, audited: {version}"]
    for name, audited in members.items():
        try:
            now = inspected(name, audited.use, source=bool(audited.sha256))
        except LookupError:
            found.append(f"{name} ({audited.use}) does not exist any more")
            continue
        if now.signature != audited.signature:
            found.append(f"{name} ({audited.use}): the signature is {now.signature}, audited: {audited.signature}")
        if now.sha256 != audited.sha256:
            found.append(f"{name} ({audited.use}): the source has changed")
    return found


def report(found: list[str]) -> str:
    """Return the instructions, and the differences."""
    return INSTRUCTIONS.format(audited=VERSION) + "".join(f"- {line}\n" for line in found)


def inspected(name: str, use: Use, *, source: bool) -> Member:
    """Return what the installed gunicorn has as ``name``: ``module:dotted.path``, or ``setting:`` and a name.

    Raises:
        LookupError: it has no such member.
    """
    module, _, path = name.partition(":")
    if module == "setting":
        default = make_settings()[path].default  # KeyError is a LookupError
        return Member(use, str(inspect.signature(default)) if callable(default) else "")
    try:
        owner: Any = importlib.import_module(module)
    except ImportError as error:
        raise LookupError(name) from error
    *parents, last = path.split(".")
    try:
        for parent in parents:
            owner = getattr(owner, parent)
    except AttributeError as error:
        raise LookupError(name) from error
    if inspect.isclass(owner) and last in instance_attributes(owner):
        return Member(use)
    try:
        value = inspect.getattr_static(owner, last)
    except AttributeError as error:
        raise LookupError(name) from error
    value = getattr(value, "__func__", value)
    if isinstance(value, property):
        value = value.fget
    if not callable(value) or isinstance(value, ModuleType):
        return Member(use)
    digest = hashlib.sha256(inspect.getsource(value).encode()).hexdigest()[:12] if source else ""
    return Member(use, "" if inspect.isclass(value) else str(inspect.signature(value)), digest)


@cache
def instance_attributes(owner: type) -> frozenset[str]:
    """Return the attributes that the methods of a class of gunicorn, or of its bases, set on ``self``."""
    return frozenset(
        node.attr
        for base in owner.__mro__
        if base.__module__.startswith("gunicorn.")
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base))))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def printed() -> Iterator[str]:
    """Yield the lines of the table for the installed gunicorn."""
    for name, audited in MEMBERS.items():
        now = inspected(name, audited.use, source=bool(audited.sha256))
        values = [now.use, now.signature, now.sha256]
        while not values[-1]:
            values.pop()
        yield f'    "{name}": Member({", ".join(map(repr, values))}),'


if __name__ == "__main__":
    print("\n".join(printed()))
