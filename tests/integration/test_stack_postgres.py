"""The embedded PostgreSQL without the other processes: create, start, provide roles, kill, remove."""

import dataclasses
import os
import pwd
import signal
import subprocess

import psycopg2
import pytest

from stack.errors import MachineError, UnhealthyError
from stack.processes.databases import NAMES, Server, create_missing
from stack.processes.postgres import Cluster, remove_shared_folder, server_options, shared_folder
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
        self.cluster = Cluster.of(self.settings)
        self.server = Server.of(self.settings, self.credentials)
        self.process = None

    def start(self):
        self.cluster.prepare(self.credentials)
        self.process = subprocess.Popen(
            [*self.cluster.command, *server_options(self.settings)],
            cwd=self.cluster.data,
            user=pwd.getpwnam(self.cluster.user).pw_uid if self.cluster.user else None,
            extra_groups=[] if self.cluster.user else None,
            stderr=subprocess.PIPE,
        )
        return until(self.version, passing=psycopg2.OperationalError)

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
        cursor.execute("CREATE ROLE builder LOGIN CREATEDB CREATEROLE PASSWORD 'p w'")
    connection.close()
    url = f"postgresql://builder:p%20w@127.0.0.1:{database.settings.postgres_port}/postgres"
    theirs = Server.of(dataclasses.replace(database.settings, postgres_url=url), database.credentials)
    create_missing(theirs, database.credentials)
    found = rows(database.server, "SELECT datname FROM pg_database WHERE datname <> 'postgres' AND NOT datistemplate")
    assert {name for (name,) in found} == set(NAMES)


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
    try:
        database.cluster.prepare(database.credentials)
        database.cluster.record.unlink()  # written last
        (database.cluster.data / "postgresql.conf").unlink()
        assert database.start()
    finally:
        database.stop()
        remove_shared_folder(database.settings.home)


def test_what_lies_outside_of_the_state_folder_is_removed_with_it(tmp_path):
    database = Database(tmp_path / "home")
    database.cluster.prepare(database.credentials)
    database.cluster.record.unlink()  # as after an interruption
    assert shared_folder(database.settings.home).exists() == (os.geteuid() == 0)
    remove_shared_folder(database.settings.home)
    assert not shared_folder(database.settings.home).exists()
