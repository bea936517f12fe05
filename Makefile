# Everything here works on a machine with Python 3.11 to 3.13, make and a shell.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?=
PILOT := build/ewms-pilot
PILOT_SOURCES := scripts/build_pilot.py \
	$(shell find peers/ewms_pilot libs/ewms_amqp clients/ewms -name '*.py')

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml scripts/install.sh
	sh scripts/install.sh $(VENV)
	touch $@

.PHONY: install
install: $(INSTALLED) ## the environment in .venv/, everything in it

.PHONY: demo
demo: install ## the whole system at work: two workflows, 200 events, every result checked
	$(BIN)/python scripts/demo.py

.PHONY: demo-real
demo-real: $(PILOT) ## the same on HTCondor, RabbitMQ and an outside PostgreSQL (Debian, root): 3,000 events
	scripts/postgres.sh install
	sh scripts/rabbitmq.sh install
	$(BIN)/python scripts/demo_real.py

.PHONY: test
test: install ## all tests but the long ones; PYTEST_ARGS goes to pytest
	$(BIN)/pytest -m "not soak" $(PYTEST_ARGS)

.PHONY: check
check: install ## format, lint, types, generated files fresh, contracts, import rule
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python scripts/generate_protos.py clients --check
	$(BIN)/python scripts/generate_reference.py docs/reference.md --check
	$(BIN)/python scripts/generate_settings.py docs/settings.md --check
	$(BIN)/python scripts/lint_protos.py
	$(BIN)/lint-imports

.PHONY: format
format: install ## put the sources into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: protos
protos: install ## what is generated: Python and type stubs, docs/reference.md, docs/settings.md
	$(BIN)/python scripts/generate_protos.py clients
	$(BIN)/python scripts/generate_reference.py docs/reference.md
	$(BIN)/python scripts/generate_settings.py docs/settings.md

.PHONY: soak
soak: install ## the long tests: hundreds of kills, a million events (hours)
	$(BIN)/pytest -m soak --timeout=0 $(PYTEST_ARGS)

.PHONY: bench
bench: install ## how fast it is, beside the limit of what it stands on
	$(BIN)/python -m benchmarks

.PHONY: rabbitmq
rabbitmq: install ## a RabbitMQ node of its own, on the loopback; `make rabbitmq-stop` ends it
	sh scripts/rabbitmq.sh install
	sh scripts/rabbitmq.sh start
	@sh scripts/rabbitmq.sh env

.PHONY: rabbitmq-stop
rabbitmq-stop: ## stop the RabbitMQ node; its data stay
	sh scripts/rabbitmq.sh stop

.PHONY: pilot
pilot: $(PILOT) ## the pilot as one executable file with its interpreter: build/ewms-pilot

$(PILOT): $(PILOT_SOURCES) $(INSTALLED)
	$(BIN)/python scripts/build_pilot.py

.PHONY: apptainer
apptainer: ## apptainer on this machine (Debian, root), for tasks in containers
	scripts/apptainer.sh install

.PHONY: images
images: pilot apptainer ## the pilot's and a task's container image, without network: build/images
	scripts/images.sh all

.PHONY: condor
condor: ## a real HTCondor pool with two schedds on this machine (Debian, root), for tests
	scripts/condor-pool.sh install
	scripts/condor-pool.sh start
	@for made in build/ewms-pilot build/images/pilot build/images/pilot.sif build/images/task \
		build/images/task.sif; do \
		test ! -e $$made || scripts/condor-pool.sh put $$made; done
	@echo 'for a client in this shell:  eval "$$(scripts/condor-pool.sh env)"'
	@echo 'a job to each schedd:        scripts/condor-pool.sh check'
	@echo 'a command in the pool:       scripts/condor-pool.sh run condor_q -allusers'
	@echo 'to stop it:                  make condor-stop'

.PHONY: condor-stop
condor-stop: ## stop the HTCondor pool; it stays installed
	scripts/condor-pool.sh stop

.PHONY: postgres
postgres: ## a PostgreSQL as an operator has it, TLS and PgBouncer included (Debian), for tests
	scripts/postgres.sh install
	scripts/postgres.sh start
	@echo 'settings of WMS and MQS:     eval "$$(scripts/postgres.sh env)"    (env-pooled: by PgBouncer)'
	@echo 'the schemas, as their owner: ewms db upgrade --database "$$EWMS_PG_OWNER_URL"'
	@echo 'to stop it:                  make postgres-stop'

.PHONY: postgres-stop
postgres-stop: ## stop that PostgreSQL; its data stay
	scripts/postgres.sh stop

.PHONY: clean
clean: ## remove what was built and cached; the environment stays
	rm -rf build .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
