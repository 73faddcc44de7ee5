"""What the measurements run on: a PostgreSQL and a Redis of their own, jobs in bulk, and servers as real processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

from core import db, jobs
from core.jobs import Claim
from core.settings import settings
from models.canonical import DatasetMeta, TeacherMeta
from models.spec.job import JobSpec
from models.spec.students import MLP
from models.status import CheckStatus
from models.tables import Dataset, Job, Teacher, Upload
from worker import launch

_REPOSITORY = Path(__file__).resolve().parents[2]
_TEACHER = TeacherMeta(architecture=MLP(), input_shape=(4,), num_outputs=2, parameters=10)
_DATASET = DatasetMeta(task="tabular_classification", counts={"train": 8}, input_shape=(4,), num_outputs=2)
_SPEC: dict[str, Any] = {
    "teacher": "tch_1",
    "dataset": "dst_1",
    "student": {"type": "mlp", "hidden": [8]},
    "loss": {"type": "kd", "T": 4},
}


@dataclass(frozen=True)
class Served:
    """A server that answers on this machine."""

    port: int
    pid: int

    def megabytes(self, what: str) -> float:
        """Memory of its process: VmRSS is what it holds now, VmHWM the most that it ever held."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def use_database(url: str, folder: Path, redis_url: str) -> None:
    """From now on this process, and what it starts, works on that database."""
    os.environ |= {
        "DISTILLERY_DATABASE_URL": url,
        "DISTILLERY_REDIS_URL": redis_url,
        "DISTILLERY_DATA_DIR": str(folder),
        "DISTILLERY_MIN_FREE_BYTES": "0",
    }
    settings.cache_clear()
    db.engine.cache_clear()


def make_database(url: str, name: str) -> str:
    """A new, empty database beside the one of the address; its address."""
    admin = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def fill(num_jobs: int) -> str:
    """Migrate, and store so many jobs: one runs, one of a hundred waits, the others have ended. The id of the first."""
    db.upgrade()
    with db.session() as session:
        session.add(Upload(id="upl_1", filename="a", size=1, sha256="0" * 64, storage_key="blobs/00/0"))
        session.flush()
        session.add(Teacher(id="tch_1", **_ready(_TEACHER)))
        session.add(Dataset(id="dst_1", **_ready(_DATASET)))
        session.flush()
        first = jobs.submit(session, JobSpec.model_validate(_SPEC)).id
    made = {
        "id": "'job_' || md5(n::text)",
        "created_at": "created_at - n * interval '1 s'",
        "queued_at": "created_at - n * interval '1 s'",
        "status": "CASE WHEN n % 100 = 0 THEN 'queued' WHEN n % 20 = 1 THEN 'failed' ELSE 'succeeded' END",
        "labels": "jsonb_build_object('team', CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END)",
    }
    columns = [column.name for column in Job.__table__.columns]
    values = ", ".join(made.get(name, name) for name in columns)
    with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Rows that are copies of a good one need not be checked one by one.
        for setting in ("statement_timeout = 0", "session_replication_role = replica"):
            connection.execute(text(f"SET {setting}"))
        connection.execute(
            text(
                f"INSERT INTO jobs ({', '.join(columns)}) SELECT {values} "  # noqa: S608 - all of it is ours
                "FROM jobs, generate_series(1, :num) n"
            ),
            {"num": num_jobs - 1},
        )
        for last in ("VACUUM ANALYZE jobs", "CHECKPOINT", "RESET ALL"):
            connection.execute(text(last))
    claimed(first)
    return first


def claimed(job_id: str) -> Claim:
    """The claim of a queued job, which runs from then on; nobody works on it."""
    with db.session() as session:
        claim = jobs.claim(session, worker="bench", lease_s=3600, job_id=job_id)
    assert claim is not None
    return claim


def submitted() -> str:
    """A job more; its id."""
    with db.session() as session:
        return jobs.submit(session, JobSpec.model_validate(_SPEC)).id


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[Served]:
    """A server as a process of its own, which is told its port by the environment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        launch.command([sys.executable, "-m", module, *arguments]),
        cwd=_REPOSITORY,
        env=os.environ | {"DISTILLERY_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_answers(port, process)
        yield Served(port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_until_it_answers(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{process.args!r} does not answer")


def _ready(meta: TeacherMeta | DatasetMeta) -> dict[str, Any]:
    return {
        "name": "a",
        "upload_id": "upl_1",
        "spec": {},
        "status": CheckStatus.READY,
        "meta": meta.model_dump(mode="json"),
        "storage_key": "blobs/00/0",
        "sha256": "0" * 64,
        "size": 1,
    }
