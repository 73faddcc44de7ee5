# Two images from one file. `api` serves HTTP and holds no torch; `worker` checks uploads and runs jobs, with the CUDA
# build of torch where the machine that builds it is x86-64 (the same image runs on a CPU).
#
#   docker build --target api    --tag distillery-api .
#   docker build --target worker --tag distillery-worker .

FROM python:3.11-slim AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
# One user for both, so that they can share the volume of files. The folders give new volumes their owner.
RUN groupadd --gid 10001 distillery \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin distillery \
    && install --directory --owner=distillery --group=distillery --mode=0750 /data /storage

FROM base AS packages
WORKDIR /packages
RUN python -m venv /venv
# What names the packages and nothing else: a change of the code leaves these layers as they are. The project that pip
# installs here is empty; its code lies in /app and is found because commands start there.
COPY pyproject.toml constraints.txt ./

FROM packages AS api-packages
RUN pip install --no-cache-dir --constraint constraints.txt '.[api]'

FROM packages AS worker-packages
RUN pip install --no-cache-dir --constraint constraints.txt '.[worker]'

FROM base AS api
COPY --from=api-packages /venv /venv
WORKDIR /app
COPY models/ models/
COPY core/ core/
COPY migrations/ migrations/
COPY api/ api/
# The page of error codes is served from here.
COPY docs/ docs/
USER 10001:10001
ENV DISTILLERY_DATA_DIR=/data \
    DISTILLERY_HOST=0.0.0.0 \
    DISTILLERY_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "api.main"]

FROM base AS worker
# torch.compile makes C++ of the students of long runs, and on a GPU a small C part beside each kernel.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY --from=worker-packages /venv /venv
WORKDIR /app
COPY models/ models/
COPY core/ core/
COPY worker/ worker/
USER 10001:10001
ENV DISTILLERY_DATA_DIR=/data
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker.main"]
