# Parallel corpus -> SentencePiece -> attention translator -> MLflow registry.   `make help` lists the targets.
#   make EXP=name          experiments/name.yaml laid over params.yaml, outputs in build/name
#   make train NPROC=2     two processes, through accelerate
#   make train NPROC=8 NODES=4 NODE_RANK=1 MASTER=host:port     the second of four machines with eight each
# For GNU Make 3.81 and newer; so no .ONESHELL, .SHELLFLAGS, !=, &: or $(file).

DRY := $(findstring n,$(firstword -$(MAKEFLAGS)))$(findstring q,$(firstword -$(MAKEFLAGS)))
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DEFAULT_GOAL := all

PYTHON ?= python3
NPROC  ?= 1
# Of several machines, which share this directory: how many, which one this is (0 makes the stages before, the others
# join it in training), host:port of machine 0. RESTARTS: how often training starts again when a process dies.
NODES     ?= 1
NODE_RANK ?= 0
MASTER    ?=
RESTARTS  ?= 3

# Not the environment's: some shells and build systems leave one of their own there.
HOST    := 127.0.0.1
VERSION :=
REASON  :=
FORCE   :=
ALIAS   := champion
TYPED := $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name)))
# As it was typed: quotes, dollar signs and backticks reach a command through the environment, and neither Make nor a
# shell reads them on the way.
define AS_TYPED
ifneq (undefined,$$(origin $(1)))
override $(1) := $$(value $(1))
export $(1)
endif
endef
PROCESSES := NPROC NODES NODE_RANK MASTER RESTARTS
ANSWERS   := TEXT VERSION REASON FORCE ALIAS HOST PORT STORE ARTIFACTS ALLOWED_HOSTS AUTH DEBUG
$(foreach name,EXP $(PROCESSES) $(ANSWERS),$(eval $(call AS_TYPED,$(name))))

# MLflow's own migrations fail where it is installed below a directory with a % in its name, Python's venv where there is
# a colon, and a line of Make's ends at a newline.
define NEWLINE


endef
UNFIT := $(foreach sign,% :,$(findstring $(sign),$(CURDIR)))$(if $(findstring $(NEWLINE),$(CURDIR)),newline)
ifneq (,$(strip $(UNFIT)))
$(error the path of this directory, $(subst $(NEWLINE),\n,$(CURDIR)), has a $(firstword $(UNFIT)) in it, with which MLflow or \
Python cannot work; rename or move it)
endif

NAME   := $(or $(EXP),default)
B      := build/$(NAME)
S      := $(B)/stamps
VENV   := .venv/.installed
PY     := .venv/bin/python

EXPERIMENTS := $(sort $(basename $(notdir $(wildcard experiments/*.yaml))))
ifneq ($(NAME),$(if $(word 2,$(NAME)),,$(filter default $(EXPERIMENTS),$(NAME))))
$(error no experiments/$(NAME).yaml; EXP may be: $(EXPERIMENTS))
endif
NOT_DIGITS = $(subst 0,,$(subst 1,,$(subst 2,,$(subst 3,,$(subst 4,,$(subst 5,,$(subst 6,,$(subst 7,,$(subst 8,,$(subst \
             9,,$(1)))))))))))
IS_WHOLE   = $(if $(call NOT_DIGITS,$(1)),,$(if $(filter-out 0,$(1)),$(if $(filter 0%,$(1)),,yes),$(filter 0,$(1))))
$(foreach name,NPROC NODES NODE_RANK RESTARTS,$(if $(call IS_WHOLE,$($(name))),,\
    $(error $(name): got '$($(name))', expected a whole number, as in: make train $(name)=2)))
$(foreach name,NPROC NODES,$(if $(filter 0,$($(name))),$(error $(name): got '0', expected at least 1)))
ifneq (0,$(NODE_RANK))
ifneq (train,$(MAKECMDGOALS))
$(error machine NODE_RANK=$(NODE_RANK) joins machine 0 in training, nothing else; run: make train)
endif
endif
PARAMS := params.yaml $(if $(filter-out default,$(NAME)),experiments/$(NAME).yaml)

# glibc gives large blocks back to the system after each step and faults them in again; kept, training on a processor is
# a fifth faster (2 cores, medians of 3). It reads this when a process starts.
export MALLOC_MMAP_THRESHOLD_ := 8589934592
export MALLOC_TRIM_THRESHOLD_ := 17179869184
export MALLOC_TOP_PAD_        := 268435456

# MLflow would tell its makers of every first run.
export MLFLOW_DISABLE_TELEMETRY := true
# A lost connection is an error that stages tell in a line; torch would warn of it with a stack of C++ frames before.
export TORCH_CPP_LOG_LEVEL := ERROR
# The loader reads it before Python can take it away (see pipeline/plumbing/environment.py), and it chooses other
# versions of the mathematics library's functions.
unexport GLIBC_TUNABLES
# Other people's libraries and Pythons have no place in .venv's.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH
# Libraries need their docstrings and asserts, and what they warn of is not for this project's users.
unexport PYTHONOPTIMIZE PYTHONWARNINGS
# Text is UTF-8 everywhere, whatever the locale.
export PYTHONUTF8 := 1

# One process needs no launcher. Several machines run training together; the other stages are one machine's.
# exec: a shell in between would die of a signal to all, and Make not wait for the launcher's checkpoint.
SEVERAL  = stages.launch --processes $(NPROC) --restarts $(RESTARTS)
ONE_NODE = $(PY) -m$(if $(filter-out 1,$(NPROC)), $(SEVERAL))
LAUNCH   = $(if $(filter-out 1x0,$(NODES)x$(NODE_RANK)),exec $(PY) -m $(SEVERAL) --machines $(NODES) --machine $(NODE_RANK) \
           --master "$$MASTER",$(ONE_NODE))
# Whoever reads a command's output may have seen enough of it, as head has: that is no failure (141 is SIGPIPE's).
OR_ENOUGH = || { status=$$?; test $$status = 141 || exit $$status; }

STAGES   := download tokenizer encode train evaluate register
UNSTAMPED := help check test test-slow test-gpu test-faults test-all bench-tracking bench-serving clean translate summary sync server ui \
             smoke review promote rollback versions serve
.PHONY: all status $(STAGES) $(UNSTAMPED)
# Interrupted right after a stage has published, Make would otherwise take its manifest away.
.PRECIOUS: $(patsubst %,$(B)/%/manifest.json,corpus tokenizer encoded model evaluation registered) $(B)/summary.txt

# A variable that nobody reads is a slip, such as exp=mine. Only where each goal is one of ours: another makefile may
# include this one.
GOALS := $(or $(MAKECMDGOALS),all)
READ_BY_translate := TEXT NPROC
READ_BY_review    := VERSION
READ_BY_promote   := VERSION REASON FORCE
READ_BY_rollback  := REASON FORCE
READ_BY_serve     := ALIAS HOST PORT AUTH ALLOWED_HOSTS
READ_BY_server    := HOST PORT STORE ARTIFACTS AUTH ALLOWED_HOSTS
READ_BY_ui        := $(READ_BY_server)
READ_BY_bench-serving := DURATION
READ := EXP PYTHON DEBUG SHELL $(foreach goal,$(GOALS),$(READ_BY_$(goal))) \
        $(if $(filter all smoke status $(STAGES),$(GOALS)),$(PROCESSES))
UNREAD := $(filter-out $(READ),$(TYPED))
ifneq (,$(UNREAD)) # the settings may name a file by a variable: ${CORPUS}/train.tsv
SETTINGS := $(shell cat $(PARAMS))
NAMING   := $(foreach name,$(UNREAD),$(if $(findstring $${$(name)},$(SETTINGS)),$(name)))
UNREAD   := $(filter-out $(NAMING),$(UNREAD))
$(foreach name,$(NAMING),$(eval $(call AS_TYPED,$(name))))
endif
ifneq (,$(if $(filter-out all status $(STAGES) $(UNSTAMPED),$(GOALS)),,$(UNREAD)))
$(error make $(GOALS) reads no variable $(firstword $(UNREAD)), but: $(strip $(READ)). What is meant for the environment \
stands before the command: $(firstword $(UNREAD))=... make $(GOALS))
endif

all: $(B)/summary.txt                    ## the whole pipeline, and a summary of what came of it
download: $(B)/corpus/manifest.json      ## fetch, clean and split the parallel corpus
tokenizer: $(B)/tokenizer/manifest.json  ## train SentencePiece
encode: $(B)/encoded/manifest.json       ## text to token ids
train: $(B)/model/manifest.json          ## train the model; NPROC=2 for two processes
evaluate: $(B)/evaluation/manifest.json  ## BLEU and chrF on the test sets, beside two baselines
register: $(B)/registered/manifest.json  ## package the model, try it, make it a version in MLflow's registry

# A stage publishes its directory in one rename, manifest.json inside it; that file is what Make compares in time.
$(B)/corpus/manifest.json: $(S)/download.json | $(VENV)
	$(PY) -m stages.download $^ $(@D)
$(B)/tokenizer/manifest.json: $(S)/tokenizer.json $(B)/corpus/manifest.json | $(VENV)
	$(PY) -m stages.tokenizer $^ $(@D)
$(B)/encoded/manifest.json: $(S)/encode.json $(B)/corpus/manifest.json $(B)/tokenizer/manifest.json | $(VENV)
	$(PY) -m stages.encode $^ $(@D)
ifeq (0,$(NODE_RANK))
$(B)/model/manifest.json: $(S)/train.json $(B)/corpus/manifest.json $(B)/tokenizer/manifest.json $(B)/encoded/manifest.json | $(VENV)
	$(LAUNCH) stages.train $^ $(@D)
else
.PHONY: $(B)/model/manifest.json
$(B)/model/manifest.json: | $(VENV)
	$(LAUNCH) stages.train $(S)/train.json $(B)/corpus/manifest.json $(B)/tokenizer/manifest.json $(B)/encoded/manifest.json $(@D)
endif
$(B)/evaluation/manifest.json: $(S)/evaluate.json $(B)/corpus/manifest.json $(B)/model/manifest.json | $(VENV)
	$(ONE_NODE) stages.evaluate $^ $(@D)
$(B)/registered/manifest.json: $(S)/register.json $(B)/corpus/manifest.json $(B)/model/manifest.json $(B)/evaluation/manifest.json | $(VENV)
	$(PY) -m stages.register $^ $(@D)
# Only the registry knows whether the version is still there, and in which store it is looked for now. So `make register`
# always asks it, and registers anew what is gone. `make` asks no server: it trusts this manifest as it does the others.
ifneq (,$(filter register,$(MAKECMDGOALS)))
.PHONY: $(B)/registered/manifest.json
endif
$(B)/summary.txt: $(B)/evaluation/manifest.json $(B)/registered/manifest.json
	@$(PY) -m stages.summary $^ $@

# A stage's settings, its code and the files that settings name are in its stamp, which is rewritten only when they
# change. Make remakes an included file before it plans, under -n and -q too, and then reads itself again: so the plan is
# true before and after an edit.
# Without .venv a dry run shows its installation and all that follows, and installs nothing.
STAMPED := $(filter-out $(UNSTAMPED),$(GOALS))
ifneq (,$(and $(STAMPED),$(or $(wildcard $(VENV)),$(if $(DRY),,install))))
include $(S)/checked.mk
endif
# Whether settings, code, or files that settings name have changed is asked at each call, which takes milliseconds: times
# alone would hide an older file that was moved into a place. $(shell) does not see the command line's variables.
quoted = '$(subst ','\'',$(value $(1)))'
ASKING := $(if $(STAMPED),$(if $(MAKE_RESTARTS),,$(wildcard $(VENV))))
ifneq (,$(ASKING))
ifneq (unchanged,$(shell $(foreach name,$(NAMING),$(name)=$(call quoted,$(name))) \
    $(PY) -I -S pipeline/plumbing/watch.py $(S)/files.json $(PARAMS)))
.PHONY: changed-files
$(S)/checked.mk: changed-files
endif
endif
CHECK = @$(PY) -m stages.stamp $(S) $(PARAMS)
$(S)/checked.mk: | $(VENV)
	$(CHECK)
$(S)/%.json: | $(S)/checked.mk
	$(CHECK)

$(VENV): requirements.lock
	@$(PYTHON) stages/install.py

# What was read from standard input is gone, what was written stands: nothing to start again from.
translate: RESTARTS := 0
translate: | $(VENV) ## TEXT="..." with this experiment's model; without TEXT, standard input line by line
	@$(ONE_NODE) stages.translate $(B)/model $(OR_ENOUGH)
summary: ## the summary again
	@cat $(B)/summary.txt 2>/dev/null || { echo "error: nothing to sum up yet; run: make$(if $(EXP), EXP=$(EXP))" >&2; exit 2; }
status: ## each stage: fresh, or stale and why
	@$(PY) -m stages.status $(S) $(OR_ENOUGH)
sync: | $(VENV) ## send MLflow what it missed of every training's metrics and ends
	@$(PY) -m stages.sync
review: | $(VENV) ## a version (VERSION=n, else the newest) against the champion; the verdict goes into the registry
	@$(PY) -m stages.review $(PARAMS)
promote: | $(VENV) ## VERSION=n REASON="..." makes a reviewed version the champion
	@$(PY) -m stages.promote $(PARAMS)
rollback: | $(VENV) ## REASON="..." makes the champion before the champion again
	@$(PY) -m stages.rollback $(PARAMS)
versions: | $(VENV) ## every version with its verdict, scores and aliases; who became champion when, and why
	@$(PY) -m stages.versions $(PARAMS) $(OR_ENOUGH)
serve: | $(VENV) ## the model with ALIAS=champion behind HTTP, wherever the alias moves; HOST= PORT=5001 AUTH=1 ALLOWED_HOSTS=
	@$(PY) -m stages.serve $(PARAMS)
server: | $(VENV) ## MLflow's server for a team; HOST= PORT= STORE=url ARTIFACTS=url AUTH=1 ALLOWED_HOSTS=
	@$(PY) -m stages.server
ui: | $(VENV) ## the same, and the addresses of this experiment's runs, model and newest version
	@$(PY) -m stages.server $(PARAMS)
smoke: build/smoke-corpus/train.tsv ## the whole pipeline on a toy language, in a minute
	@$(MAKE) EXP=smoke all
build/smoke-corpus/train.tsv: tests/toy_corpus.py | $(VENV)
	$(PY) -m tests.toy_corpus $@
check: | $(VENV) ## lint, format and types
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
test: | $(VENV) ## the fast tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile -m "not slow"
test-slow: | $(VENV) ## the slow ones; half an hour
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile -rs -m slow --ignore tests/test_faults.py
test-faults: | $(VENV) ## interrupt the pipeline 200 times; under an hour
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 -rP -m slow tests/test_faults.py
test-gpu: | $(VENV) ## the tests that want a CUDA device
	$(PY) -m pytest -q -rs -m gpu
# Each part runs, whatever became of those before it; pytest leaves a report of each.
REPORTS  := build/tests
test-all: | $(VENV) ## every test, in an hour and a half; then docs/guarantees.md says what was shown
	@rm -rf $(REPORTS); failed=0; for part in check test test-slow test-faults test-gpu; do \
	  PYTEST_ADDOPTS="--junitxml=$(REPORTS)/$$part.xml" $(MAKE) $$part || failed=1; done; \
	$(PY) -m tests.guarantees $(REPORTS); exit $$failed
bench-tracking: | $(VENV) ## the price of a tracking server in trouble; five minutes
	$(PY) -m benchmarks.tracking
bench-serving: | $(VENV) ## 32 clients of `make serve` for DURATION=60 seconds
	$(PY) -m benchmarks.serving $(B) $(PARAMS)
clean: ## remove this experiment's outputs
	rm -rf "$(B)"
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' Makefile
