"""The embedded PostgreSQL without the other processes: create, start, provide roles, kill, remove."""

import dataclasses
import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess

import psycopg2
import pytest

from heartline import contract
from heartline.ledger import schema, store
from stack.errors import MachineError, UnhealthyError, UsageError
from stack.processes import reading_roles
from stack.processes.cluster_location import SHARED_FOLDER, shared_folder
from stack.processes.databases import NAMES, Server, create_missing
from stack.processes.definitions import AIRFLOW, MLFLOW, ledger_url
from stack.processes.health import answers
from stack.processes.migrations import Migrations, Schema, installed_revisions
from stack.processes.postgres import Cluster, remove_shared_folder, server_options
from stack.secrets.credentials import Credentials
from stack.settings import Settings
from tests.running import ROOT, free_ports
from tests.waiting import until

pytestmark = pytest.mark.stack


class Database:
    """A cluster of an own state folder, and its server process."""

    def __init__(self, home):
        self.settings = Settings(ROOT, home, 1, 2, 3, free_ports(1)[0], None)
        self.settings.make_home()
        self.credentials = Credentials(home)
        self.cluster = Cluster.claim(self.settings)
        self.server = Server.of(self.settings, self.credentials)
        self.process = None

    def start(self, until_healthy=None):
        self.cluster.prepare(self.credentials)
        self.process = subprocess.Popen(
            [*self.cluster.command, *server_options(self.settings)],
            cwd=self.cluster.data,
            user=pwd.getpwnam(self.cluster.user).pw_uid if self.cluster.user else None,
            extra_groups=[] if self.cluster.user else None,
            stderr=subprocess.PIPE,
        )
        return until(until_healthy or self.version, passing=psycopg2.OperationalError)

    def version(self):
        assert self.process.poll() is None, self.process.stderr.read()
        return self.server.version()

    def stop(self, how=signal.SIGINT):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
        if self.process:
            self.process.wait(120)
            self.process.stderr.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    made = Database(tmp_path_factory.mktemp("database") / "home of a clone")
    made.start()
    yield made
    made.stop()
    remove_shared_folder(made.settings.home)


def rows(server, query, *login):
    connection = server.connect(*login)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()
    finally:
        connection.close()


def test_each_role_has_its_database_and_password(database):
    create_missing(database.server, database.credentials)
    for name in NAMES:
        password = database.credentials[f"{name}_db_password"]
        assert rows(database.server, "SELECT current_user, current_database()", name, password, name) == [(name, name)]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            database.server.connect(name, "guessed", name)


def test_no_role_but_the_superuser_may_do_everything(database):
    create_missing(database.server, database.credentials)
    found = rows(database.server, "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolcreatedb")
    assert found == [("postgres",)]


def test_providing_again_changes_nothing(database):
    create_missing(database.server, database.credentials)
    before = rows(database.server, "SELECT oid, datname FROM pg_database ORDER BY oid")
    create_missing(database.server, database.credentials)
    assert rows(database.server, "SELECT oid, datname FROM pg_database ORDER BY oid") == before


def test_a_database_that_an_older_clone_does_not_have_is_added(database):
    create_missing(database.server, database.credentials)
    for statement in ("DROP DATABASE predictions", "DROP ROLE predictions"):
        connection = database.server.connect()
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()
    create_missing(database.server, database.credentials)
    password = database.credentials["predictions_db_password"]
    assert rows(database.server, "SELECT current_user", "predictions", password, "predictions") == [("predictions",)]


def test_a_role_of_somebody_else_is_left_alone(database, tmp_path):
    create_missing(database.server, database.credentials)
    (tmp_path / "other").mkdir()
    with pytest.raises(MachineError, match="the role airflow exists with a password that this clone does not have"):
        create_missing(database.server, Credentials(tmp_path / "other"))
    create_missing(database.server, database.credentials)  # its owner still gets in


def test_a_user_who_may_create_roles_and_databases_is_enough(database):
    connection = database.server.connect()
    with connection.cursor() as cursor:
        for name in NAMES:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"DROP ROLE IF EXISTS {name}")
        for name in (*schema.LOGINS, schema.OWNER, *reading_roles.LOGINS):
            cursor.execute(f"DROP ROLE IF EXISTS {name}")
        cursor.execute("CREATE ROLE builder LOGIN CREATEDB CREATEROLE PASSWORD 'p w'")
    connection.close()
    url = f"postgresql://builder:p%20w@127.0.0.1:{database.settings.postgres_port}/postgres"
    theirs = Server.of(dataclasses.replace(database.settings, postgres_url=url), database.credentials)
    create_missing(theirs, database.credentials)
    found = rows(database.server, "SELECT datname FROM pg_database WHERE datname <> 'postgres' AND NOT datistemplate")
    assert {name for (name,) in found} == set(NAMES)
    create_missing(theirs, database.credentials)  # again, as at the next `up`
    entered = store.append("registered", by="anna", url=ledger_url(theirs, database.credentials))
    assert (entered.number, entered.writer) == (1, schema.WRITER)


def test_the_ledger_is_added_to_the_databases_of_an_older_clone(database):
    create_missing(database.server, database.credentials)
    connection = database.server.connect(database="heartline")
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA ledger CASCADE")
        for name in (*schema.LOGINS, schema.OWNER):
            cursor.execute(f"DROP OWNED BY {name}")
            cursor.execute(f"DROP ROLE {name}")
    connection.close()
    assert create_missing(database.server, database.credentials) == set()
    assert store.entries(url=ledger_url(database.server, database.credentials)) == []


def test_a_server_that_does_not_answer(database):
    unreachable = dataclasses.replace(database.server, port=free_ports(1)[0])
    with pytest.raises(UnhealthyError, match="PostgreSQL does not answer"):
        create_missing(unreachable, database.credentials)


def test_it_listens_on_loopback_only_and_without_a_socket(database):
    found = dict(
        rows(
            database.server,
            "SELECT name, setting FROM pg_settings WHERE name IN ('listen_addresses', 'unix_socket_directories')",
        )
    )
    assert found == {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    methods = rows(database.server, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert methods == [("scram-sha-256",)]


def test_it_comes_back_after_a_restart_of_the_machine(tmp_path):
    database = Database(tmp_path / "home")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        database.start()
        create_missing(database.server, database.credentials)
        database.stop(signal.SIGKILL)
        lock = database.cluster.data / "postmaster.pid"
        assert lock.exists()
        # Meanwhile another program got the process id in the lock file.
        lock.write_text("\n".join([str(sleeper.pid), *lock.read_text().split("\n")[1:]]))
        database.start()
        assert rows(database.server, "SELECT 1 FROM pg_database WHERE datname = 'mlflow'") == [(1,)]
        assert sleeper.poll() is None
    finally:
        database.stop()
        sleeper.kill()
        sleeper.wait()
        remove_shared_folder(database.settings.home)


def test_an_interrupted_creation_starts_again(tmp_path):
    database = Database(tmp_path / "home")
    partial = database.cluster.data.with_name(f"{database.cluster.data.name}.creating")
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    try:
        assert database.start()
        assert not partial.exists()
    finally:
        database.stop()
        remove_shared_folder(database.settings.home)


def marked(database):
    """Create a table in the database, by which it is recognized."""
    connection = database.server.connect()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE mine (patient int)")
    connection.close()


def is_marked(database):
    return rows(database.server, "SELECT to_regclass('mine') IS NOT NULL") == [(True,)]


@pytest.fixture
def used(tmp_path):
    """A stopped database that holds a table, of a state folder with artifacts."""
    made = Database(tmp_path / "home")
    made.start()
    marked(made)
    made.stop()
    (made.settings.home / "artifacts" / "1").mkdir(parents=True)
    yield made
    made.stop()
    remove_shared_folder(made.settings.home)


@pytest.mark.parametrize("lost", ["postgres.json", "secrets", "HEARTLINE"])
def test_a_lost_bookkeeping_file_does_not_cost_the_database(used, lost):
    home = used.settings.home
    path = home / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if lost == "HEARTLINE":
        with pytest.raises(UsageError, match="holds other files") as caught:
            used.settings.make_home()
        subprocess.run(["sh", "-c", caught.value.hint.partition("file HEARTLINE: ")[2]], check=True)
    used.cluster = Cluster.claim(used.settings)
    used.credentials = Credentials(home)
    used.server = Server.of(used.settings, used.credentials)
    if lost == "secrets":
        used.start(until_healthy=lambda: answers(used.server, 0).ok)
        assert not used.server.accepts_password()
        used.stop()
        used.cluster.set_password(used.credentials["postgres_password"])
    used.start()
    assert is_marked(used)


def test_roles_of_an_own_server_get_the_passwords_of_new_secrets(used):
    used.start()
    create_missing(used.server, used.credentials, own=True)
    path = used.credentials.folder / "mlflow_db_password"
    path.unlink()
    assert create_missing(used.server, used.credentials, own=True) == set()
    used.server.connect("mlflow", used.credentials["mlflow_db_password"], "mlflow").close()


def test_a_database_without_its_version_file_is_refused_with_a_hint_that_works(used):
    (used.cluster.data / "PG_VERSION").unlink()
    with pytest.raises(MachineError, match="holds files, but is no complete database") as caught:
        used.cluster.prepare(used.credentials)
    command = caught.value.hint.partition("only that file is lost: ")[2].partition(";")[0]
    subprocess.run(["sh", "-c", command], check=True)
    used.start()
    assert is_marked(used)


def test_a_database_of_another_version_is_refused(used):
    (used.cluster.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(MachineError, match="the database is of PostgreSQL 17"):
        used.cluster.prepare(used.credentials)
    (used.cluster.data / "PG_VERSION").write_text("18\n")


def test_a_missing_database_is_not_replaced_by_an_empty_one(used):
    used.cluster.data.rename(used.cluster.data.with_name("elsewhere"))
    with pytest.raises(MachineError, match="the database of this stack is missing"):
        used.cluster.prepare(used.credentials)
    assert not used.cluster.data.exists()
    used.cluster.data.with_name("elsewhere").rename(used.cluster.data)


def test_a_moved_state_folder_keeps_its_database(used, tmp_path):
    home, moved = used.settings.home, tmp_path / "moved"
    home.rename(moved)
    settings = dataclasses.replace(used.settings, home=moved)
    again = Database(moved)
    try:
        again.cluster = Cluster.claim(settings)
        again.start()
        assert is_marked(again)
        new = Database(home)  # a new stack where the old one was
        new.cluster = Cluster.claim(new.settings)
        try:
            new.start()
            assert not is_marked(new)
        finally:
            new.stop()
            remove_shared_folder(home)
        assert is_marked(again)
    finally:
        again.stop()
        remove_shared_folder(moved)
    assert not again.cluster.data.exists() or os.geteuid()


def test_a_copied_state_folder_is_refused_by_root(used, need, tmp_path):
    need(os.geteuid() == 0, "root, whose database lies outside of the state folder")
    Cluster.claim(used.settings)
    copy = dataclasses.replace(used.settings, home=tmp_path / "copy")
    shutil.copytree(used.settings.home, copy.home)
    with pytest.raises(UsageError, match="is a copy"):
        Cluster.claim(copy)
    remove_shared_folder(copy.home)
    assert (used.cluster.data / "PG_VERSION").exists(), "a purge of the copy leaves the original alone"
    used.settings.home.rename(tmp_path / "home.old")  # as the hint says
    assert Cluster.claim(copy).data == used.cluster.data
    remove_shared_folder(copy.home)


def test_a_database_of_release_0_2_continues_with_the_new_account(used, need):
    """That release named the folder by a digest of the path, and its files belonged to `nobody`."""
    need(os.geteuid() == 0, "root, whose database lies outside of the state folder")
    home = used.settings.home
    former = SHARED_FOLDER / hashlib.sha256(str(home).encode()).hexdigest()[:16]
    if used.cluster.data.parent != former:
        used.cluster.data.parent.rename(former)
    (former / "home").unlink(missing_ok=True)
    (home / "HEARTLINE").write_text("The state of a local Heartline stack. …\n")
    (home / "postgres.json").write_text(json.dumps({"data": str(former / "data")}) + "\n")
    subprocess.run(["chown", "-R", "nobody", str(former / "data")], check=True)

    moved = dataclasses.replace(used.settings, home=home.with_name("moved"))
    home.rename(moved.home)
    again = Database(moved.home)
    again.cluster = Cluster.claim(moved)
    assert again.cluster.data == former / "data"
    assert again.cluster.must_stop() == (again.cluster.user != "nobody")
    try:
        again.start()
        assert is_marked(again)
        assert (former / "data").owner() == (former / "data" / "base").owner() == again.cluster.user
    finally:
        again.stop()
        remove_shared_folder(moved.home)
    assert not former.exists()


def test_root_does_not_start_another_database_than_that_of_the_stacks_user(tmp_path, need):
    need(os.geteuid() == 0, "root")
    settings = Settings(ROOT, tmp_path / "home", 1, 2, 3, 4, None)
    settings.make_home()
    (settings.home / "postgres").mkdir()
    (settings.home / "postgres" / "PG_VERSION").write_text("18\n")
    with pytest.raises(UsageError, match="cannot run as root"):
        Cluster.claim(settings)


def test_what_lies_outside_of_the_state_folder_is_removed_with_it(tmp_path):
    database = Database(tmp_path / "home")
    database.cluster.prepare(database.credentials)
    assert shared_folder(database.settings.home).exists() == (os.geteuid() == 0)
    remove_shared_folder(database.settings.home)
    assert not shared_folder(database.settings.home).exists()


def test_a_schema_is_as_old_as_the_database_says(used):
    used.start()
    assert create_missing(used.server, used.credentials, own=True) == set(NAMES)
    migrations = Migrations(used.settings, used.server, used.credentials)
    assert migrations.state(AIRFLOW) == migrations.state(MLFLOW) == Schema.ABSENT
    for name in (AIRFLOW, MLFLOW):
        known, newest = installed_revisions(name)
        assert len(newest) == 1
        older = min(known - newest)
        connection = used.server.connect(name, used.credentials[f"{name}_db_password"], name)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE alembic_version (version_num text)")
            for revision, state in {older: Schema.OLDER, min(newest): Schema.CURRENT}.items():
                cursor.execute("DELETE FROM alembic_version")
                cursor.execute("INSERT INTO alembic_version VALUES (%s)", (revision,))
                assert migrations.state(name) == state
            cursor.execute("UPDATE alembic_version SET version_num = 'ffff'")
        connection.close()
        with pytest.raises(MachineError, match="made by another release"):
            migrations.state(name)
    connection = used.server.connect()
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE airflow WITH (FORCE)")
    connection.close()
    assert create_missing(used.server, used.credentials, own=True) == {"airflow"}
    assert migrations.state(AIRFLOW) == Schema.ABSENT


def test_db_runs_psql_as_the_role_of_the_database(used, monkeypatch):
    used.start()
    create_missing(used.server, used.credentials, own=True)
    monkeypatch.setenv("PGHOST", "elsewhere.example")
    environment = dict(os.environ) | {
        "HEARTLINE_HOME": str(used.settings.home),
        "HEARTLINE_POSTGRES_PORT": str(used.settings.postgres_port),
    }

    def call(*arguments):
        return subprocess.run(
            [str(ROOT / "heartline"), "db", *arguments], env=environment, capture_output=True, text=True, check=False
        )

    columns = ", ".join(f"{name} real" for name in contract.COLUMN_NAMES)
    assert call("-c", f"CREATE TABLE patients ({columns})").returncode == 0
    loaded = call(
        "-c", f"\\copy patients FROM '{ROOT / 'docs/examples/synthetic.csv'}' WITH (FORMAT csv, HEADER match)"
    )
    assert (loaded.returncode, loaded.stdout) == (0, "COPY 400\n")
    told = call("-At", "-c", "SELECT current_user, current_database(), count(*) FROM patients")
    assert told.stdout == "heartline|heartline|400\n"
    assert call("--url").stdout.startswith("postgresql://heartline:")
    assert call("--database", "nothing", "-c", "SELECT 1").returncode == 2
    used.stop()
    assert call("-c", "SELECT 1").returncode == 5
