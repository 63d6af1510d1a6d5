"""The service's worker is only correct on the gunicorn that it was audited on: these tests notice another one.

The table of members is in ``audited.py``; a second group of tests reads our source, so that the table is complete.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path

import gunicorn
import pytest
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config, make_settings
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response
from gunicorn.workers.gthread import PollableMethodQueue, TConn, ThreadWorker

from serving.worker.connections import Connection
from serving.worker.graceful_stop import StockWorker, StopsGracefully
from serving.worker.gunicorn_worker import Worker
from tests.serving.worker.audited import MEMBERS, VERSION, instance_attributes, problems, report

ROOT = Path(__file__).parents[3]
CONFIGURATION = ROOT / "serving" / "gunicorn.conf.py"
WORKER = ROOT / "serving" / "worker"
SOURCES = [*sorted(WORKER.rglob("*.py")), CONFIGURATION]
OTHER_SOURCES = sorted({*(ROOT / "serving").rglob("*.py")} - {*SOURCES})

# The classes of gunicorn that expressions in our source are instances of.
OWNERS: dict[str, type] = {
    "conn": TConn,
    "self in Connection": TConn,
    "self in StockWorker": ThreadWorker,
    "self in StopsGracefully": ThreadWorker,
    "self in Worker": ThreadWorker,
    "super() in Connection": TConn,
    "super() in StockWorker": ThreadWorker,
    "super() in StopsGracefully": ThreadWorker,
    "super() in Worker": ThreadWorker,
    "worker": ThreadWorker,
    "self.method_queue": PollableMethodQueue,
    "cfg": Config,
    "self.cfg": Config,
    "server.cfg": Config,
    "server": Arbiter,
    "server.app": WSGIApplication,
    "req": Request,
    "req.body": Body,
    "req.body.reader": LengthReader,
    "self._body": Body,
    "response": Response,
}
GUNICORN = [
    Arbiter, Body, Config, LengthReader, PollableMethodQueue, Request, RequestParser, Response, TConn, ThreadWorker,
    WSGIApplication,
]  # fmt: skip
# Attributes whose name gunicorn has too, on objects that are not gunicorn's: file, function, expression.
OTHERS = {
    ("fast_path.py", "FastPath.answer", "self._store.status"),
    ("fast_path.py", "FastPath.answer", "request.body"),
    ("fast_path.py", "FastPath._is_authorized", "auth.sent"),
    ("gunicorn_worker.py", "Worker.accept", "listener.accept"),
    ("gunicorn_worker.py", "Worker.handle_request", "conn.incoming.body"),
    ("gunicorn_worker.py", "Worker.handle_error", "problem.status"),
    ("gunicorn_worker.py", "Worker._dispatch", "conn.incoming.path"),
    ("gunicorn_worker.py", "Worker._refuse", "conn.incoming.path"),
    ("gunicorn_worker.py", "_send", "problem.body"),
    ("gunicorn_worker.py", "_send", "problem.headers"),
    ("gunicorn_worker.py", "_send", "problem.status"),
    ("http_framing.py", "Incoming.__init__", "self.body"),
    ("http_framing.py", "Incoming.size", "self.body"),
    ("http_framing.py", "Incoming._finish", "self.body"),
    ("log_limit.py", "WarningLimit.__init__", "super().__init__"),
    ("unread_bodies.py", "_discard_received", "body.read"),
    ("gunicorn.conf.py", "", "sys.path"),
    ("gunicorn.conf.py", "when_ready", "signal.signal"),
    ("gunicorn.conf.py", "post_fork", "signal.signal"),
    ("gunicorn.conf.py", "post_worker_init", "worker.wsgi.wsgi_app"),  # the Flask application
    ("gunicorn.conf.py", "post_worker_init", "worker.wsgi.extensions['model_store'].start"),
    ("gunicorn.conf.py", "post_worker_init", "worker.wsgi.extensions['prediction_log'].start"),
    ("gunicorn.conf.py", "post_worker_init", "worker.wsgi.extensions['ledger'].start"),
    ("gunicorn.conf.py", "worker_exit", "worker.wsgi.extensions['model_store'].stop"),
    ("gunicorn.conf.py", "worker_exit", "worker.wsgi.extensions['prediction_log'].stop"),
    ("gunicorn.conf.py", "worker_exit", "worker.wsgi.extensions['ledger'].stop"),
}

DYNAMIC_IMPORTS = {"import_module", "importlib.import_module", "__import__"}


@cache
def members_of(owner: type) -> set[str]:
    """Return the attributes that gunicorn defines on a class or on its instances."""
    names = {name for base in owner.__mro__ if base.__module__.startswith("gunicorn") for name in vars(base)}
    return (names | instance_attributes(owner)) - {"__module__", "__doc__", "__dict__", "__weakref__"}


def audited_members(owner: type) -> set[str]:
    """Return the attributes of a class, or of its bases, that the table names."""
    bases = {f"{base.__module__}:{base.__name__}" for base in owner.__mro__}
    return {member for name in MEMBERS for where, _, member in [name.rpartition(".")] if where in bases}


def audited_settings() -> set[str]:
    return {name.removeprefix("setting:") for name in MEMBERS if name.startswith("setting:")}


@dataclass(frozen=True)
class Access:
    """An attribute access in our source.

    Attributes:
        function: where it is, with its class; empty outside of functions.
        expression: the object, as in the source.
        name: of the attribute.
    """

    function: str
    expression: str
    name: str

    @property
    def owner(self) -> type | None:
        """The class of gunicorn that the object is an instance of."""
        inside = f" in {self.function.partition('.')[0]}" if self.expression in ("self", "super()") else ""
        return OWNERS.get(self.expression + inside)


def accesses(module: ast.AST) -> Iterator[Access]:
    """Yield each attribute access in a module, also those by ``getattr`` with a constant."""

    def walk(node: ast.AST, inside: str) -> Iterator[Access]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Attribute():
                    yield Access(inside, ast.unparse(child.value), child.attr)
                case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
                    yield Access(inside, ast.unparse(owner), name)
            is_scope = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, f"{inside}.{child.name}".lstrip(".") if is_scope else inside)

    yield from walk(module, "")


def unaudited_accesses(file: str, module: ast.AST) -> list[str]:
    """Return the attribute accesses that may be to a member of gunicorn that the table does not have."""
    everything = set().union(*(members_of(owner) for owner in GUNICORN)) | set(make_settings())
    missing = []
    for access in accesses(module):
        name, owner = access.name, access.owner
        if owner is Config and name not in members_of(Config):
            known = name in audited_settings()
        elif owner is not None:
            known = name not in members_of(owner) or name in audited_members(owner)
        else:
            known = name not in everything or (file, access.function, f"{access.expression}.{name}") in OTHERS
        if not known:
            missing.append(f"{access.expression}.{name}")
    return missing


def gunicorn_imports(module: ast.AST) -> Iterator[str]:
    """Yield what a module imports from gunicorn: ``module:name``, or ``module`` where all of it is imported."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "gunicorn":
            yield from (f"{node.module}:{alias.name}" for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "gunicorn")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC_IMPORTS:
            yield from (
                one.value
                for one in node.args
                if isinstance(one, ast.Constant) and str(one.value).partition(".")[0] == "gunicorn"
            )


def is_audited_import(name: str) -> bool:
    """Return whether an import is of a class or function in the table; a module has members that are not checked."""
    return ":" in name and any(known == name or known.startswith(f"{name}.") for known in MEMBERS)


def test_gunicorn_is_as_audited() -> None:
    found = problems(MEMBERS, VERSION)

    assert not found, report(found)


def test_a_changed_gunicorn_is_reported_with_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = "gunicorn.workers.gthread:ThreadWorker.handle"
    changed = {
        handle: replace(MEMBERS[handle], signature="(self)", sha256="0" * 12),
        "gunicorn.workers.gthread:ThreadWorker.removed": MEMBERS[handle],
        "setting:removed": MEMBERS["setting:keepalive"],
    }
    monkeypatch.setattr(gunicorn, "__version__", "26.3.0")

    text = report(problems(changed, VERSION))

    assert f"- the version is 26.3.0, audited: {VERSION}\n" in text
    assert f"- {handle} (used): the signature is (self, conn), audited: (self)\n" in text
    assert f"- {handle} (used): the source has changed\n" in text
    assert "- gunicorn.workers.gthread:ThreadWorker.removed (used) does not exist any more\n" in text
    assert "- setting:removed (used) does not exist any more\n" in text
    for step in ("HEARTLINE_WORKER=gthread", "tests/serving/worker", "tests/serving/worker/audited.py"):
        assert step in text


def test_the_locks_pin_the_audited_version() -> None:
    assert version("gunicorn") == VERSION
    for lock in ("requirements.txt", "serving/requirements.txt"):
        assert f"\ngunicorn=={VERSION} " in (ROOT / lock).read_text()


@pytest.mark.parametrize(
    ("classes", "theirs"), [((Worker, StopsGracefully, StockWorker), ThreadWorker), ((Connection,), TConn)]
)
def test_each_override_is_in_the_table_with_a_compatible_signature(classes: tuple[type, ...], theirs: type) -> None:
    defined = {name for ours in classes for name in vars(ours) if inspect.isroutine(getattr(ours, name))}
    overridden = defined & (members_of(theirs) | {"__init__"})
    where = f"{theirs.__module__}:{theirs.__name__}."

    assert overridden == {
        name.removeprefix(where)
        for name, member in MEMBERS.items()
        if name.startswith(where) and member.use == "overridden"
    }
    for ours, name in product(classes, overridden - {"__init__"}):
        signatures = [inspect.signature(getattr(one, name)) for one in (ours, theirs)]
        assert len(signatures[0].parameters) == len(signatures[1].parameters), name


def test_all_sources_are_checked() -> None:
    assert {file.name for file in SOURCES} == {
        "__init__.py", "connections.py", "fast_path.py", "gunicorn.conf.py", "graceful_stop.py", "gunicorn_worker.py",
        "http_framing.py", "log_limit.py", "unread_bodies.py",
    }  # fmt: skip
    assert len(SOURCES) == 9
    assert len(OTHER_SOURCES) > 30


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_each_attribute_of_gunicorn_in_our_source_is_in_the_table(file: Path) -> None:
    missing = unaudited_accesses(file.name, ast.parse(file.read_text()))

    assert not missing, "add them to MEMBERS in audited.py, or to OTHERS here if the object is not gunicorn's"


def test_the_lists_of_this_file_have_no_superfluous_entry() -> None:
    found = [(file.name, access) for file in SOURCES for access in accesses(ast.parse(file.read_text()))]

    assert {(file, one.function, f"{one.expression}.{one.name}") for file, one in found} >= OTHERS
    used = {one.expression for _, one in found}
    used |= {f"{one.expression} in {one.function.partition('.')[0]}" for _, one in found}
    assert used >= OWNERS.keys()


@pytest.mark.parametrize(
    "source",
    [
        "def _send(request):\n    return request.body",
        "class FastPath:\n    def other(self, request):\n        return request.body",
        "class Worker:\n    def other(self):\n        return self.handle_http2",
        "def other(conn):\n    return getattr(conn, 'wait_for_data')",
    ],
)
def test_an_attribute_that_is_not_in_the_table_is_found(source: str) -> None:
    assert unaudited_accesses("fast_path.py", ast.parse(source))


def test_the_attributes_that_gunicorn_sets_and_ours_do_not_collide() -> None:
    for ours, theirs in (
        (Worker, ThreadWorker),
        (StopsGracefully, ThreadWorker),
        (StockWorker, ThreadWorker),
        (Connection, TConn),
    ):
        own = {
            node.attr
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(ours))))
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "conn")
        }
        assert own & members_of(theirs) <= audited_members(theirs) | audited_members(TConn)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_each_import_from_gunicorn_is_in_the_table(file: Path) -> None:
    found = gunicorn_imports(ast.parse(file.read_text()))

    assert [name for name in found if not is_audited_import(name)] == [], "import names that are in MEMBERS"


def test_no_other_source_of_the_service_imports_gunicorn() -> None:
    found = {file.name: [*gunicorn_imports(ast.parse(file.read_text()))] for file in OTHER_SOURCES}

    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import gunicorn",
        "import gunicorn.util as gutil",
        "from gunicorn import util as gutil",
        "from gunicorn import http",
        "from gunicorn.util import close_on_exec",
        "import_module('gunicorn.util')",
    ],
)
def test_an_import_that_is_not_in_the_table_is_found(source: str) -> None:
    (name,) = gunicorn_imports(ast.parse(source))

    assert not is_audited_import(name)


def test_each_setting_and_hook_of_our_configuration_is_in_the_table() -> None:
    """Gunicorn ignores an unknown name in its configuration: a renamed setting would have no effect."""
    module = ast.parse(CONFIGURATION.read_text())
    stored = {
        node.id
        for node in ast.walk(module)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not node.id.startswith("_")
    }
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    hooks = {node.name: node for node in functions if not node.name.startswith("_")}
    local = {name.id for one in functions for name in ast.walk(one) if isinstance(name, ast.Name)} - {"bind"}

    assert (stored - local) | set(hooks) <= audited_settings()
    for name, hook in hooks.items():
        assert f"({', '.join(one.arg for one in hook.args.args)})" == MEMBERS[f"setting:{name}"].signature
