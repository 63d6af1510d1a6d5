"""The service's worker is only correct on the gunicorn that it was audited on: these tests notice another one.

The table of members is in ``audited.py``; a second group of tests reads our source, so that the table is complete.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import version
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
from serving.worker.gunicorn_worker import Worker
from tests.serving.worker.audited import MEMBERS, VERSION, instance_attributes, problems, report

ROOT = Path(__file__).parents[3]
CONFIGURATION = ROOT / "serving" / "gunicorn.conf.py"
SOURCES = [*sorted((ROOT / "serving" / "worker").glob("*.py")), CONFIGURATION]

# The classes of gunicorn that expressions in our source are instances of.
OWNERS: dict[str, type] = {
    "conn": TConn,
    "self in Connection": TConn,
    "self in Worker": ThreadWorker,
    "super() in Connection": TConn,
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
    "environ['wsgi.input']": Body,
}
GUNICORN = [
    Arbiter, Body, Config, LengthReader, PollableMethodQueue, Request, RequestParser, Response, TConn, ThreadWorker,
    WSGIApplication,
]  # fmt: skip
# Expressions with an attribute whose name gunicorn has too, on objects that are not gunicorn's.
OTHERS = {
    "auth",
    "conn.incoming",
    "listener",
    "problem",
    "request",
    "self in Incoming",
    "self._store",
    "sys",
    "worker.wsgi",  # the Flask application
    "worker.wsgi.extensions['model_store']",
    "worker.wsgi.extensions['prediction_log']",
}


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


def accesses(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each attribute access in our source: the expression, with the class where it is ``self``, and the name."""

    def walk(node: ast.AST, inside: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Attribute():
                    yield expression(child.value, inside), child.attr
                case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
                    yield expression(owner, inside), name
            yield from walk(child, child.name if isinstance(child, ast.ClassDef) else inside)

    def expression(node: ast.expr, inside: str) -> str:
        text = ast.unparse(node)
        return f"{text} in {inside}" if text in ("self", "super()") else text

    yield from walk(ast.parse(file.read_text()), "")


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


@pytest.mark.parametrize(("ours", "theirs"), [(Worker, ThreadWorker), (Connection, TConn)])
def test_each_override_is_in_the_table_with_a_compatible_signature(ours: type, theirs: type) -> None:
    defined = {name for name in vars(ours) if inspect.isroutine(getattr(ours, name))}
    overridden = defined & (members_of(theirs) | {"__init__"})
    where = f"{theirs.__module__}:{theirs.__name__}."

    assert overridden == {
        name.removeprefix(where)
        for name, member in MEMBERS.items()
        if name.startswith(where) and member.use == "overridden"
    }
    for name in overridden - {"__init__"}:
        signatures = [inspect.signature(getattr(one, name)) for one in (ours, theirs)]
        assert len(signatures[0].parameters) == len(signatures[1].parameters), name


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_each_attribute_of_gunicorn_in_our_source_is_in_the_table(file: Path) -> None:
    everything = set().union(*(members_of(owner) for owner in GUNICORN)) | set(make_settings())
    missing = []
    for expression, name in accesses(file):
        owner = OWNERS.get(expression)
        if owner is Config and name not in members_of(Config):
            known = name in audited_settings()
        elif owner is not None:
            known = name not in members_of(owner) or name in audited_members(owner)
        else:
            known = name not in everything or expression in OTHERS
        if not known:
            missing.append(f"{expression}.{name}")

    assert not missing, "add them to MEMBERS in audited.py, or to OTHERS here if the object is not gunicorn's"


def test_the_lists_of_this_file_have_no_superfluous_entry() -> None:
    used = {expression for file in SOURCES for expression, _ in accesses(file)}

    assert used >= OTHERS | OWNERS.keys()


def test_the_attributes_that_gunicorn_sets_and_ours_do_not_collide() -> None:
    for ours, theirs in ((Worker, ThreadWorker), (Connection, TConn)):
        own = {
            node.attr
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(ours))))
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "conn")
        }
        assert own & members_of(theirs) <= audited_members(theirs)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_each_import_from_gunicorn_is_in_the_table(file: Path) -> None:
    modules = {name.partition(":")[0] for name in MEMBERS}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gunicorn"):
            for alias in node.names:
                name = f"{node.module}:{alias.name}"
                is_named = any(known == name or known.startswith(f"{name}.") for known in MEMBERS)
                assert is_named or f"{node.module}.{alias.name}" in modules, name
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("gunicorn")], "import the names"


def test_each_setting_and_hook_of_our_configuration_is_in_the_table() -> None:
    """Gunicorn ignores an unknown name in its configuration: a renamed setting would have no effect."""
    module = ast.parse(CONFIGURATION.read_text())
    stored = {
        node.id
        for node in ast.walk(module)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not node.id.startswith("_")
    }
    hooks = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    local = {name.id for hook in hooks.values() for name in ast.walk(hook) if isinstance(name, ast.Name)} - {"bind"}

    assert (stored - local) | set(hooks) <= audited_settings()
    for name, hook in hooks.items():
        assert f"({', '.join(one.arg for one in hook.args.args)})" == MEMBERS[f"setting:{name}"].signature
