"""Run a real PostgreSQL server on loopback, in a temporary directory, with the installed programs."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.mlflow_server import unused_port

USER = "mlflow"
SYSTEM_USER = "postgres"  # the account of the distribution's package; the programs refuse to run as root


class Postgres:
    """A running server. Each new database is empty."""

    def __init__(self, port: int, password: str) -> None:
        self.port, self.password = port, password

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """Create a database and return its URL."""
        name = f"test_{secrets.token_hex(4)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self.url(name)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    programs, command = find_programs(), []
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))  # other users cannot enter pytest's directory
    if os.geteuid() == 0:
        shutil.chown(directory, SYSTEM_USER, SYSTEM_USER)
        command = ["runuser", "-u", SYSTEM_USER, "--"]
    postgres = Postgres(unused_port(), secrets.token_urlsafe(12))
    (directory / "password").write_text(postgres.password)
    os.chmod(directory / "password", 0o644)

    def run(program: str, *arguments: str) -> None:
        full = [*command, str(programs / program), "-D", str(directory / "data"), *arguments]
        subprocess.run(full, cwd=directory, check=True, stdout=subprocess.DEVNULL)

    options = f"-p {postgres.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"
    try:
        run("initdb", "-U", USER, "--auth=scram-sha-256", f"--pwfile={directory}/password", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-w", "-l", str(directory / "log"), "-o", options, "start")
        try:
            yield postgres
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


def find_programs() -> Path:
    """Return the directory of initdb and pg_ctl; skip the test where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    path = found[-1] if found else shutil.which("initdb")
    if path is None:
        pytest.skip("PostgreSQL's programs are not installed (Debian: apt-get install postgresql)")
    if os.geteuid() == 0 and SYSTEM_USER not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip(f"root cannot run PostgreSQL, and there is no user {SYSTEM_USER!r} that could")
    return Path(path).parent
