"""Settings: the only reader of the environment. Every variable starts with DISTILLERY_; docs/settings.md lists them."""

from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """All settings, with their defaults."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_", extra="ignore", frozen=True)

    database_url: str = Field(default="", description="postgresql+psycopg://... Empty: the embedded server.")
    redis_url: str = Field(default="", description="redis://... or unix://... Empty: the embedded server.")
    storage_url: str = Field(default="", description="file:///path or s3://bucket/prefix. Empty: a folder in data_dir.")
    data_dir: Path = Field(
        default=Path("var"), description="Holds the embedded servers, files, work folders and locks."
    )

    host: str = Field(default="127.0.0.1", description="Where the API listens.")
    port: int = Field(default=0, ge=0, le=65535, description="0: a free port is chosen and printed.")
    hosts: str = Field(
        default="",
        description="Names, separated by commas, that requests may be sent to (the header Host). Empty: those of "
        "loopback where the API listens there, else any.",
    )
    tls: bool = Field(
        default=False, description="Callers come by https, which a proxy ends: browsers are told to stay with it."
    )
    cors_origins: str = Field(
        default="",
        description="Origins, separated by commas, whose pages may call from a browser. Empty: none but our own.",
    )
    metrics_open: bool = Field(default=False, description="`/metrics` needs no key. Otherwise one of role `admin`.")

    max_queued_per_owner: int = Field(
        default=1000, ge=0, description="Jobs of one owner that wait or are paused. 0: no limit."
    )
    max_stored_bytes_per_owner: int = Field(
        default=2**40, ge=0, description="What the files of one owner may take. 0: no limit."
    )
    max_requests_per_minute: int = Field(
        default=6000, ge=0, description="Requests of one owner in any minute, where there are keys. 0: no limit."
    )
    max_streams_per_owner: int = Field(default=1000, ge=1, description="Event streams of one owner at one API process.")
    max_streams: int = Field(default=4000, ge=1, description="Event streams at one API process.")
    max_connections: int = Field(default=5000, ge=1, description="Connections to one API process.")
    head_s: float = Field(default=15.0, gt=0, description="How long the head of a request may take to come.")
    body_idle_s: float = Field(
        default=30.0, gt=0, description="A request of whose body nothing comes for so long is ended."
    )
    body_least_rate: int = Field(
        default=1024, ge=0, description="Bytes a second that a body must come at, on the whole, after that time."
    )
    answer_idle_s: float = Field(
        default=60.0, gt=0, description="A connection whose other end reads hardly anything for so long is ended."
    )
    shutdown_s: float = Field(
        default=10.0, gt=0, description="An API that is told to stop has ended by then, whatever it is at."
    )

    max_upload_bytes: int = Field(default=20 * 2**30, ge=1, description="A larger upload is refused.")
    min_free_bytes: int = Field(default=2**30, ge=0, description="An upload that would leave less disk is refused.")

    lease_s: float = Field(default=60.0, gt=0, description="How long a worker that falls silent keeps its job.")
    heartbeat_s: float = Field(default=10.0, gt=0, description="How often a worker extends its lease.")
    watch_s: float = Field(default=0.5, gt=0, description="How often a supervisor looks at its child and its row.")
    sweep_s: float = Field(
        default=10.0, gt=0, description="How often ended leases and forgotten messages are looked for."
    )
    requeue_s: float = Field(default=15.0, gt=0, description="A job queued for longer gets its message again.")
    collect_s: float = Field(
        default=3600.0, gt=0, description="How often files and rows that nobody needs any more are looked for."
    )
    keep_s: float = Field(
        default=7 * 86_400.0,
        gt=0,
        description="An unused upload and a stored file that no row names are kept so long.",
    )
    idempotency_s: float = Field(
        default=86_400.0, gt=0, description="How long the answer to a POST with an Idempotency-Key is given again."
    )
    resumable_s: float = Field(
        default=86_400.0, gt=0, description="A resumable upload to which nothing is added for so long is removed."
    )
    priority_step_s: float = Field(
        default=6 * 3600.0, gt=0, description="A queued job that has waited so long counts as one priority higher."
    )
    max_running_per_owner: int = Field(
        default=0, ge=0, description="Jobs of one owner that run at once; more of them wait. 0: no limit."
    )
    retry_wait_s: float = Field(
        default=5.0, ge=0, description="A job that the machine failed waits so long, and twice as long each next time."
    )
    cancel_grace_s: float = Field(default=3.0, gt=0, description="Between SIGTERM and SIGKILL to a child.")
    drain_grace_s: float = Field(
        default=20.0, gt=0, description="The same where the child is to leave a checkpoint: at a pause or a shutdown."
    )
    stall_s: float = Field(default=900.0, gt=0, description="A child that says nothing for so long is ended.")
    checkpoint_s: float = Field(default=60.0, gt=0, description="How often a job keeps what it has reached.")

    devices: str = Field(default="auto", description="`auto`, `cpu`, or GPU numbers: `0,1`. One job at a time on each.")
    threads: int = Field(default=0, ge=0, description="CPU threads of a job. 0: all cores, shared among devices.")

    teacher_cache_bytes: int = Field(
        default=10 * 2**30,
        ge=0,
        description="Disk for teachers' outputs that an owner's jobs on this host share. 0: nothing is shared.",
    )
    teacher_cache_keep_s: float = Field(
        default=7 * 86_400.0, gt=0, description="Those that no job has used for so long are removed."
    )
    data_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory for the rows of a job's data set; a larger one is read from its file as it goes. "
        "0: half of the memory, shared among devices.",
    )

    spares: bool = Field(
        default=True,
        description="A worker keeps a process for jobs and one for checks that have torch loaded and wait: each takes "
        "about 250 MB and saves seconds at every start.",
    )

    check_max_seconds: int = Field(default=1800, ge=1, description="Time that the check of one upload may take.")
    check_max_bytes: int = Field(default=16 * 2**30, ge=2**30, description="Address space of an intake child.")
    check_max_attempts: int = Field(default=3, ge=1, description="Then an upload whose checks crash is rejected.")

    webhooks_private_hosts: bool = Field(
        default=False,
        description="Webhooks may go to private and loopback addresses, and without TLS: where receivers are inside.",
    )
    webhook_timeout_s: float = Field(default=10.0, gt=0, description="How long a webhook may take to answer.")
    webhook_at_once: int = Field(default=2, ge=1, description="Messages on their way to one webhook at once.")
    webhook_give_up_s: float = Field(
        default=3 * 86_400.0,
        gt=0,
        description="A message is tried for so long; a webhook that has failed for so long is disabled.",
    )
    webhook_poll_s: float = Field(default=1.0, gt=0, description="How often messages that are due are looked for.")

    log_json: bool = Field(default=False, description="Logs as one JSON object a line.")
    log_level: str = Field(default="INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`.")


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
