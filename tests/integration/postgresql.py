"""A PostgreSQL server of our own: in a temporary folder, on a free loopback port, ended when the tests are."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine

PASSWORD = "made-up-password"
START_SECONDS = "30"
# Nothing is kept, so nothing is waited for.
SERVER_OPTIONS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses=127.0.0.1"


@dataclass(frozen=True, slots=True)
class PostgresqlDatabase:
    port: int
    name: str
    engine: Engine  # as the owner of the server, for looking at what was loaded

    def url(self, user: str = "postgres", name: str = "") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name or self.name}"

    def close(self) -> None:
        self.engine.dispose()


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    port: int

    def engine(self, database: str) -> Engine:
        address = f"postgresql+psycopg://postgres:{PASSWORD}@127.0.0.1:{self.port}/{database}"
        return create_engine(address, isolation_level="AUTOCOMMIT")

    def create_database(self, name: str) -> PostgresqlDatabase:
        engine = self.engine("postgres")
        with engine.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        engine.dispose()
        return PostgresqlDatabase(self.port, name, self.engine(name))


def programs() -> Path | None:
    """The folder with initdb and pg_ctl; Debian keeps them out of the path, the newest version last."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which("pg_ctl")
    return folders[-1] if folders else Path(found).parent if found else None


@contextmanager
def running_postgresql(bin_folder: Path) -> Iterator[PostgresqlServer]:
    """PostgreSQL refuses to run as root, so root starts it as the user that Debian's package makes."""
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="connector-postgresql-"))
    folder.chmod(0o777 if as_owner else 0o700)
    cluster, password_file = folder / "cluster", folder / "password"
    password_file.write_text(PASSWORD, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])

    def run(program: str, *arguments: str) -> None:
        command = [*as_owner, str(bin_folder / program), *arguments]
        made = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        assert made.returncode == 0, made.stderr.decode()

    try:
        run("initdb", "--pgdata", str(cluster), "--username=postgres", f"--pwfile={password_file}", "--no-sync",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C")  # fmt: skip
        options = f"{SERVER_OPTIONS} -c port={port} -c unix_socket_directories={folder}"
        run("pg_ctl", "--pgdata", str(cluster), "--log", str(folder / "log"), "--wait", "--timeout", START_SECONDS,
            "--options", options, "start")  # fmt: skip
        try:
            yield PostgresqlServer(port)
        finally:
            run("pg_ctl", "--pgdata", str(cluster), "--wait", "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
