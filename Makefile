# Every command of the project. `make help` prints the targets that carry a `##`.

PY := .venv/bin/python
INSTALLED := .venv/installed
# The file holds the folder that it was made for: a .venv that came along with a copy is made anew.
MOVED := $(shell [ "$$(cat $(INSTALLED) 2>/dev/null)" = "$$(pwd -P)" ] || echo moved)

.DEFAULT_GOAL := help
.PHONY: help demo up key test check accept accept-tabular accept-audio accept-text table docs-losses chaos bench-losses corpus fuzz contract bench-overhead bench-start bench-sweep bench-memory bench-api bench-train bench-gpu bench-estimates tus-test clean moved

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED) ## See it work: a teacher, a job, a student, over HTTP, in about three minutes
	@$(PY) -m scripts.demo

up: $(INSTALLED) ## Run the service here until Ctrl-C; its data stays in var/
	@$(PY) -m scripts.up

key: $(INSTALLED) ## Make a key, shown this once, e.g. OWNER=vision ROLE=user NAME=ci DAYS=90; or LIST=1, REVOKE=dk_...
	@$(PY) -m scripts.key $(if $(OWNER),--owner "$(OWNER)") $(if $(ROLE),--role "$(ROLE)") $(if $(NAME),--name "$(NAME)") \
		$(if $(DAYS),--days "$(DAYS)") $(if $(LIST),--list) $(if $(REVOKE),--revoke "$(REVOKE)")

test: $(INSTALLED) ## Run the tests
	$(PY) -m pytest -n 2 --dist loadfile

check: $(INSTALLED) ## Lint, formatting, types, import rules, Dockerfile, compose file, shell scripts
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True))'
	.venv/bin/shellcheck scripts/*.sh .ci/run
	.venv/bin/hadolint Dockerfile
	POSTGRES_PASSWORD=x .venv/bin/docker-compose --profile '*' config --quiet

accept: $(INSTALLED) ## Prove the main job on Fashion-MNIST with real processes (up to 30 minutes)
	@$(PY) -m scripts.accept

accept-tabular: $(INSTALLED) ## Prove it on tables: Adult and California housing
	@$(PY) -m scripts.accept_tabular

accept-audio: $(INSTALLED) ## Prove it on sounds: spoken digits (a few minutes)
	@$(PY) -m scripts.accept_audio

accept-text: $(INSTALLED) ## Prove it on texts: AG News (a few minutes)
	@$(PY) -m scripts.accept_text

table: $(INSTALLED) ## Compare every loss of the menu (an hour on two cores; goes on if stopped), e.g. SMALL=1
	@$(PY) -m scripts.table $(if $(SMALL),--small) $(if $(DATA),--data "$(DATA)") \
		$(if $(WRITE),--write "$(WRITE)",$(if $(SMALL),,--write docs/results.md))

docs-losses: $(INSTALLED) ## Write docs/losses.md anew from the menu
	@$(PY) -m scripts.docs_losses

chaos: $(INSTALLED) ## Break the running service on purpose, e.g. TRIALS=300 SEED=1 (about 8 s a trial)
	@$(PY) -m scripts.chaos $(if $(TRIALS),--trials $(TRIALS)) $(if $(SEED),--seed $(SEED)) $(if $(WRITE),--write $(WRITE))

bench-losses: $(INSTALLED) ## Measure time and memory of every loss (three minutes), e.g. SMALL=1 CHECK=1
	@$(PY) -m scripts.bench_losses $(if $(SMALL),--small) $(if $(CHECK),--check)

corpus: $(INSTALLED) ## Hand every hostile and every good file to the converter (about two minutes), e.g. ONLY=ONNX
	@$(PY) -m scripts.corpus $(if $(ONLY),--only "$(ONLY)") $(if $(WRITE),--write "$(WRITE)")

fuzz: $(INSTALLED) ## Hand it mutated files, e.g. N=20000 SEED=1 (ten to thirty a second)
	@$(PY) -m scripts.corpus.fuzz $(if $(N),--num $(N)) $(if $(SEED),--seed $(SEED)) $(if $(WRITE),--write "$(WRITE)")

contract: $(INSTALLED) ## Hold the running service to its OpenAPI document, e.g. N=20000 SEED=1 (six minutes), ONLY=create_job
	@$(PY) -m scripts.contract $(if $(N),--num $(N)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)") \
		$(if $(WRITE),--write "$(WRITE)")

bench-overhead: $(INSTALLED) ## Measure what heartbeats, events and checkpoints cost a training
	@$(PY) -m scripts.bench_overhead

bench-start: $(INSTALLED) ## Measure POST to the first optimizer step, with and without spares, e.g. SMALL=1 CHECK=1
	@$(PY) -m scripts.bench_start $(if $(SMALL),--small) $(if $(CHECK),--check)

bench-sweep: $(INSTALLED) ## Measure eight jobs that share a teacher's outputs, e.g. SMALL=1 CHECK=1
	@$(PY) -m scripts.bench_sweep $(if $(SMALL),--small) $(if $(CHECK),--check)

bench-memory: $(INSTALLED) ## Measure a data set four times the memory for it, e.g. SMALL=1 CHECK=1
	@$(PY) -m scripts.bench_memory $(if $(SMALL),--small) $(if $(CHECK),--check)

bench-api: $(INSTALLED) ## Measure polls, lists, event streams and large files of the API, e.g. SMALL=1 CHECK=1
	@$(PY) -m scripts.bench_api $(if $(SMALL),--small) $(if $(CHECK),--check)

tus-test: $(INSTALLED) ## Hand in 1 GB while connections are cut and the API is killed, e.g. SMALL=1
	@$(PY) -m scripts.tus $(if $(SMALL),--small)

bench-train: $(INSTALLED) ## Measure training beside the loops that people run, e.g. SMALL=1 CHECK=1
	@$(PY) -c 'import torchdistill' 2>/dev/null || $(PY) -m pip install -q -c constraints.txt -e '.[bench]'
	@OMP_NUM_THREADS=2 $(PY) -m scripts.bench_train $(if $(SMALL),--small) $(if $(CHECK),--check)

bench-gpu: $(INSTALLED) ## The same on a GPU, where there is one
	@$(PY) -m scripts.bench_gpu $(if $(SMALL),--small) $(if $(CHECK),--check)

bench-estimates: $(INSTALLED) ## Measure how far estimates of jobs are off (five minutes), e.g. SMALL=1
	@$(PY) -m scripts.bench_estimates $(if $(SMALL),--small)

clean: ## Remove .venv and the caches; the data in var/ stays
	rm -rf .venv ./*.egg-info build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt scripts/venv.sh $(MOVED)
	@scripts/venv.sh

moved:
