"""The least that a FastAPI service can do: `python -m scripts.bench_api.bare` answers each request by one SELECT."""

import uvicorn
from fastapi import FastAPI
from sqlalchemy import create_engine, text

from core import db
from core.settings import settings

app = FastAPI(openapi_url=None)
_engine = create_engine(db.database_url(), pool_size=20, max_overflow=0)
_SELECT = text("SELECT status FROM jobs WHERE id = :job_id")


@app.get("/jobs/{job_id}")
def get_job(job_id: str) -> dict[str, str]:
    """The state of a job and nothing else."""
    with _engine.connect() as connection:
        return {"status": connection.execute(_SELECT, {"job_id": job_id}).scalar_one()}


if __name__ == "__main__":
    uvicorn.run(app, port=settings().port, log_config=None, access_log=False)
