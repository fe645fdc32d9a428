# Parallel corpus -> SentencePiece -> attention translator -> MLflow registry.   `make help` lists the targets.
#   make EXP=name          experiments/name.yaml laid over params.yaml, outputs in build/name; `extends: other` in it lays
#                          it over experiments/other.yaml
#   make EXP=name DATA=other     the same laid over experiments/other.yaml, outputs in build/name@other
#   make download NUM_PROC=8     cleans in eight processes (as many as there are cores); ENGINE=ray: in a Ray cluster
#   make train NPROC=2     two processes, through accelerate
#   make train NPROC=8 NODES=4 NODE_RANK=1 MASTER=host:port     the second of four machines with eight each
# This works in GNU Make 3.81 and newer, so it has no .ONESHELL, .SHELLFLAGS, !=, &: or $(file).

DRY := $(findstring n,$(firstword -$(MAKEFLAGS)))$(findstring q,$(firstword -$(MAKEFLAGS)))
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DEFAULT_GOAL := all

PYTHON ?= python3
NPROC  ?= 1
# Several machines, which share this directory, can train together: their number, the number of this one (0 also runs the
# stages before training), and host:port of machine 0. RESTARTS is how often training restarts after a process died.
NODES     ?= 1
NODE_RANK ?= 0
MASTER    ?=
RESTARTS  ?= 3

# These do not come from the environment, where some shells and build systems have variables of the same names.
HOST    := 127.0.0.1
NUM_PROC :=
ENGINE  :=
VERSION :=
REASON  :=
FORCE   :=
ALIAS   := champion
A       :=
B       :=
FORMAT  :=
REV     :=
PEERS   :=
PAIRS   :=
BLEU    :=
TYPED := $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name)))
# Export a variable as it was typed. Quotes, dollar signs and backticks reach a command through the environment, where
# neither Make nor a shell interprets them.
define AS_TYPED
ifneq (undefined,$$(origin $(1)))
override $(1) := $$(value $(1))
export $(1)
endif
endef
PROCESSES := NPROC NODES NODE_RANK MASTER RESTARTS NUM_PROC ENGINE
ANSWERS   := REV PEERS PAIRS BLEU TEXT TERMS VERSION REASON FORCE ALIAS A B FORMAT HOST PORT STORE ARTIFACTS ALLOWED_HOSTS AUTH DEBUG
# Settings may name files with a DATA of the environment, as in ${DATA}/train.tsv. So only a DATA that was typed counts.
TYPED_DATA := $(if $(filter DATA,$(TYPED)),DATA)
$(foreach name,EXP $(TYPED_DATA) $(PROCESSES) $(ANSWERS),$(eval $(call AS_TYPED,$(name))))

# MLflow's migrations fail below a directory with a % in its name, Python's venv below one with a colon, and Make cannot
# handle a newline.
define NEWLINE


endef
UNFIT := $(foreach sign,% :,$(findstring $(sign),$(CURDIR)))$(if $(findstring $(NEWLINE),$(CURDIR)),newline)
ifneq (,$(strip $(UNFIT)))
$(error the path of this directory, $(subst $(NEWLINE),\n,$(CURDIR)), contains a $(firstword $(UNFIT)), which MLflow, Python or \
Make cannot handle; rename or move the directory)
endif

OVER   := $(filter-out default,$(or $(EXP),$(firstword $(filter study,$(MAKECMDGOALS)))))
UNDER  := $(filter-out default,$(if $(TYPED_DATA),$(DATA)))
NAME   := $(or $(OVER)$(if $(OVER),$(UNDER:%=@%),$(UNDER)),default)
BUILD  := build/$(NAME)
S      := $(BUILD)/stamps
VENV   := .venv/.installed
PY     := .venv/bin/python

EXPERIMENTS := $(sort $(basename $(notdir $(wildcard experiments/*.yaml))))
IS_KNOWN = $(if $(word 2,$(1)),,$(if $(findstring @,$(1)),,$(filter default $(EXPERIMENTS),$(1))))
$(foreach name,EXP $(TYPED_DATA),$(if $($(name)),$(if $(call IS_KNOWN,$($(name))),,\
    $(error $(name): there is no experiments/$($(name)).yaml; expected one of: $(EXPERIMENTS)))))
ifneq (,$(findstring @,$(EXPERIMENTS)))
$(error experiments/: the name of an experiment cannot contain an @; it stands between EXP and DATA. Rename: $(EXPERIMENTS))
endif
ifneq (,$(and $(OVER),$(filter $(OVER),$(UNDER))))
$(error EXP and DATA are both $(OVER), expected two experiments; type EXP=$(OVER) alone)
endif
NOT_DIGITS = $(subst 0,,$(subst 1,,$(subst 2,,$(subst 3,,$(subst 4,,$(subst 5,,$(subst 6,,$(subst 7,,$(subst 8,,$(subst \
             9,,$(1)))))))))))
IS_WHOLE   = $(if $(call NOT_DIGITS,$(1)),,$(if $(filter-out 0,$(1)),$(if $(filter 0%,$(1)),,yes),$(filter 0,$(1))))
$(foreach name,NPROC NODES NODE_RANK RESTARTS,$(if $(call IS_WHOLE,$($(name))),,\
    $(error $(name): got '$($(name))', expected a whole number, as in: make train $(name)=2)))
$(foreach name,NPROC NODES,$(if $(filter 0,$($(name))),$(error $(name): got '0', expected at least 1)))
ifneq (0,$(NODE_RANK))
ifneq (train,$(MAKECMDGOALS))
$(error NODE_RANK=$(NODE_RANK): this machine can only join machine 0 in training; run: make train)
endif
endif
PARAMS := params.yaml $(patsubst %,experiments/%.yaml,$(UNDER) $(OVER))
ifneq (,$(if $(TYPED_DATA),$(findstring $${DATA},$(shell cat $(PARAMS)))))
$(error DATA: the settings name files with $${DATA}, but DATA=$(DATA) takes the place of that variable; rename the variable)
endif

# By default glibc returns large blocks to the system after each training step and requests them again. If it keeps them,
# training on a processor is a fifth faster (2 cores, medians of 3). It reads these variables when a process starts.
export MALLOC_MMAP_THRESHOLD_ := 8589934592
export MALLOC_TRIM_THRESHOLD_ := 17179869184
export MALLOC_TOP_PAD_        := 268435456

# MLflow would send statistics to its developers.
export MLFLOW_DISABLE_TELEMETRY := true
# Stages report a lost connection in one line; torch would print a stack of C++ frames before it.
export TORCH_CPP_LOG_LEVEL := ERROR
# This variable can select other versions of mathematical functions, which changes results. The loader reads it before
# Python could remove it (see pipeline/plumbing/environment.py).
unexport GLIBC_TUNABLES
# Only the libraries in .venv are used.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH
# Libraries need their docstrings and asserts, and their warnings are not meant for users of this project.
unexport PYTHONOPTIMIZE PYTHONWARNINGS
# Text is UTF-8 in every locale.
export PYTHONUTF8 := 1

# One process needs no launcher. Several machines run only training together. exec: without it, a signal to all processes
# would kill the shell between Make and the launcher, and Make would not wait for the checkpoint.
SEVERAL  = stages.launch --processes $(NPROC) --restarts $(RESTARTS)
ONE_NODE = $(PY) -m$(if $(filter-out 1,$(NPROC)), $(SEVERAL))
LAUNCH   = $(if $(filter-out 1x0,$(NODES)x$(NODE_RANK)),exec $(PY) -m $(SEVERAL) --machines $(NODES) --machine $(NODE_RANK) \
           --master "$$MASTER",$(ONE_NODE))
# It is no failure if the reader of a command's output, such as head, ends first (SIGPIPE, status 141).
OR_ENOUGH = || { status=$$?; test $$status = 141 || exit $$status; }

STAGES   := download tokenizer encode train evaluate register
UNSTAMPED := help check test test-slow test-gpu test-faults test-all bench bench-train bench-decode bench-startup bench-diff \
             bench-peers bench-quality bench-gpu bench-tracking bench-serving bench-data clean gc \
             translate attention export summary sync server ui smoke study experiments compare review promote rollback versions serve
.PHONY: all status $(STAGES) $(UNSTAMPED)
# Otherwise Make would delete the manifest of a stage if it is interrupted right after the stage.
.PRECIOUS: $(patsubst %,$(BUILD)/%/manifest.json,corpus tokenizer encoded model evaluation registered) $(BUILD)/summary.txt

# A variable that no goal reads is a typing error, such as exp=mine. This is not checked if a goal is unknown, because
# another makefile may include this one.
GOALS := $(or $(MAKECMDGOALS),all)
READ_BY_translate := TEXT TERMS NPROC
READ_BY_attention := TEXT
READ_BY_review    := VERSION
READ_BY_promote   := VERSION REASON FORCE
READ_BY_rollback  := REASON FORCE
READ_BY_compare   := A B FORMAT
READ_BY_clean     := FORCE
READ_BY_gc        := FORCE
READ_BY_serve     := ALIAS HOST PORT AUTH ALLOWED_HOSTS
READ_BY_server    := HOST PORT STORE ARTIFACTS AUTH ALLOWED_HOSTS
READ_BY_ui        := $(READ_BY_server)
READ_BY_bench     := DURATION REPEATS
READ_BY_bench-train   := DURATION
READ_BY_bench-decode  := REPEATS
READ_BY_bench-startup := REPEATS
READ_BY_bench-diff    := REV DURATION REPEATS
READ_BY_bench-peers   := PEERS DURATION REPEATS
READ_BY_bench-quality := BLEU
READ_BY_bench-gpu     := DURATION REPEATS
READ_BY_bench-serving := DURATION
READ_BY_bench-data    := PAIRS NUM_PROC ENGINE
READ := EXP DATA PYTHON DEBUG SHELL $(foreach goal,$(GOALS),$(READ_BY_$(goal))) \
        $(if $(filter all smoke status $(STAGES),$(GOALS)),$(PROCESSES))
UNREAD := $(filter-out $(READ),$(TYPED))
ifneq (,$(UNREAD)) # the settings of this experiment, or of one that it extends, may use it in the name of a file, as in ${CORPUS}/train.tsv
SETTINGS := $(shell cat params.yaml experiments/*.yaml)
NAMING   := $(foreach name,$(UNREAD),$(if $(findstring $${$(name)},$(SETTINGS)),$(name)))
UNREAD   := $(filter-out $(NAMING),$(UNREAD))
$(foreach name,$(NAMING),$(eval $(call AS_TYPED,$(name))))
endif
ifneq (,$(if $(filter-out all status $(STAGES) $(UNSTAMPED),$(GOALS)),,$(UNREAD)))
$(error make $(GOALS): there is no variable $(firstword $(UNREAD)), expected one of: $(strip $(READ)). To set a variable of \
the environment, type it before the command: $(firstword $(UNREAD))=... make $(GOALS))
endif

all: $(BUILD)/summary.txt                    ## run all stages, then print a summary (this is the default)
download: $(BUILD)/corpus/manifest.json      ## download, clean and split the parallel corpus
tokenizer: $(BUILD)/tokenizer/manifest.json  ## train the SentencePiece tokenizer
encode: $(BUILD)/encoded/manifest.json       ## encode the training and validation text as token ids
train: $(BUILD)/model/manifest.json          ## train the model; NPROC=2 trains in two processes
evaluate: $(BUILD)/evaluation/manifest.json  ## translate the test sets; BLEU and chrF of the model and two baselines
register: $(BUILD)/registered/manifest.json  ## package the model, test the package, add it to MLflow's model registry as a version

# A stage publishes its directory in one rename. Make compares the times of the manifest.json in these directories.
$(BUILD)/corpus/manifest.json: $(S)/download.json | $(VENV)
	$(PY) -m stages.download $^ $(@D)
$(BUILD)/tokenizer/manifest.json: $(S)/tokenizer.json $(BUILD)/corpus/manifest.json | $(VENV)
	$(PY) -m stages.tokenizer $^ $(@D)
$(BUILD)/encoded/manifest.json: $(S)/encode.json $(BUILD)/corpus/manifest.json $(BUILD)/tokenizer/manifest.json | $(VENV)
	$(PY) -m stages.encode $^ $(@D)
ifeq (0,$(NODE_RANK))
$(BUILD)/model/manifest.json: $(S)/train.json $(BUILD)/corpus/manifest.json $(BUILD)/tokenizer/manifest.json $(BUILD)/encoded/manifest.json | $(VENV)
	$(LAUNCH) stages.train $^ $(@D)
else
.PHONY: $(BUILD)/model/manifest.json
$(BUILD)/model/manifest.json: | $(VENV)
	$(LAUNCH) stages.train $(S)/train.json $(BUILD)/corpus/manifest.json $(BUILD)/tokenizer/manifest.json $(BUILD)/encoded/manifest.json $(@D)
endif
$(BUILD)/evaluation/manifest.json: $(S)/evaluate.json $(BUILD)/corpus/manifest.json $(BUILD)/model/manifest.json | $(VENV)
	$(ONE_NODE) stages.evaluate $^ $(@D)
$(BUILD)/registered/manifest.json: $(S)/register.json $(BUILD)/corpus/manifest.json $(BUILD)/model/manifest.json $(BUILD)/evaluation/manifest.json | $(VENV)
	$(PY) -m stages.register $^ $(@D)
# Only the registry knows whether the version still exists. So `make register` always asks the registry, and registers the
# model again if its version is gone. `make` asks no server: it trusts this manifest like the others.
ifneq (,$(filter register,$(MAKECMDGOALS)))
.PHONY: $(BUILD)/registered/manifest.json
endif
$(BUILD)/summary.txt: $(BUILD)/evaluation/manifest.json $(BUILD)/registered/manifest.json
	@$(PY) -m stages.summary $^ $@

# A stage's stamp holds its settings and the digests of its code and data files, and is rewritten only when they change.
# Make updates an included file before it plans, under -n and -q too, and then reads this file again. So the plan is right
# before and after an edit. Without .venv, a dry run shows the installation and all stages, and installs nothing.
STAMPED := $(filter-out $(UNSTAMPED),$(GOALS))
ifneq (,$(and $(STAMPED),$(or $(wildcard $(VENV)),$(if $(DRY),,install))))
include $(S)/checked.mk
endif
# Each call checks in milliseconds whether settings, code or data files have changed: comparing times alone would miss an
# older file that was moved into place. $(shell) does not see the variables of the command line.
quoted = '$(subst ','\'',$(value $(1)))'
ASKING := $(if $(STAMPED),$(if $(MAKE_RESTARTS),,$(wildcard $(VENV))))
ifneq (,$(ASKING))
ifneq (unchanged,$(shell $(foreach name,$(NAMING),$(name)=$(call quoted,$(name))) \
    $(PY) -I -S pipeline/plumbing/watch.py $(S)/files.json))
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

# A translation cannot restart, because its standard input was read already.
translate: RESTARTS := 0
translate: | $(VENV) ## translate TEXT="...", or each line of standard input; TERMS=glossary.tsv
	@$(ONE_NODE) stages.translate $(BUILD)/model $(OR_ENOUGH)
attention: | $(VENV) ## translate TEXT="...", and draw where the model looked: a picture and a page to explore
	@$(PY) -m stages.attention $(BUILD)/model $(BUILD)/attention
export: | $(VENV) ## write this experiment's model as ONNX, for programs without this project
	@$(PY) -m stages.export $(BUILD)/model $(BUILD)/export
summary: ## print the summary of the last complete run
	@cat $(BUILD)/summary.txt 2>/dev/null || { echo "error: there is no $(BUILD)/summary.txt yet; run: make$(OVER:%= EXP=%)$(UNDER:%= $(if $(OVER),DATA,EXP)=%)" >&2; exit 2; }
status: ## show which stages are fresh, and why the others are stale
	@$(PY) -m stages.status $(S) $(OR_ENOUGH)
study: | $(VENV) ## train the model family, and write a page that shows what attention is good for
	@exec $(PY) -m stages.study "$(MAKE_COMMAND)" $(BUILD) $(PARAMS)
experiments: | $(VENV) ## list all experiments: data, settings that differ from the default, scores, size, state
	@$(PY) -m stages.experiments build $(OR_ENOUGH)
compare: | $(VENV) ## compare two experiments, A=default B=mine; FORMAT=table, markdown or json
	@$(PY) -m stages.compare build $(OR_ENOUGH)
sync: | $(VENV) ## send MLflow the metrics that it could not receive during training
	@$(PY) -m stages.sync
review: | $(VENV) ## compare a version (VERSION=n, or the newest) with the champion, and record the verdict
	@$(PY) -m stages.review $(PARAMS)
promote: | $(VENV) ## make a reviewed version the champion: VERSION=n REASON="..."
	@$(PY) -m stages.promote $(PARAMS)
rollback: | $(VENV) ## restore the previous champion: REASON="..."
	@$(PY) -m stages.rollback $(PARAMS)
versions: | $(VENV) ## list all versions with their scores and verdicts, and the history of champions
	@$(PY) -m stages.versions $(PARAMS) $(OR_ENOUGH)
serve: | $(VENV) ## serve the champion over HTTP; ALIAS= HOST= PORT=5001 AUTH=1 ALLOWED_HOSTS=
	@$(PY) -m stages.serve $(PARAMS)
server: | $(VENV) ## run MLflow's server for a team; HOST= PORT= STORE=url ARTIFACTS=url AUTH=1 ALLOWED_HOSTS=
	@$(PY) -m stages.server
ui: | $(VENV) ## serve MLflow's pages on this machine, and print the addresses of this experiment's
	@$(PY) -m stages.server $(PARAMS)
# One thread: in so small a network threads mostly wait for each other.
smoke: build/smoke-corpus/train.tsv ## run the whole pipeline on a toy language, in about a minute
	@OMP_NUM_THREADS=1 $(MAKE) EXP=smoke DATA= all
build/smoke-corpus/train.tsv: tests/toy_corpus.py | $(VENV)
	$(PY) -m tests.toy_corpus $@
check: | $(VENV) ## check code style and types (ruff, mypy)
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
test: | $(VENV) ## run the fast tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile -m "not slow"
test-slow: | $(VENV) ## run the slow tests; up to an hour
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile -rs -m slow --ignore tests/test_faults.py
test-faults: | $(VENV) ## interrupt the pipeline 200 times and compare the results; about an hour
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 -rP -m slow tests/test_faults.py
test-gpu: | $(VENV) ## run the tests that need a CUDA device
	$(PY) -m pytest -q -rs -m gpu
# Every part runs, even if one before it failed. pytest writes a report of each.
REPORTS  := build/tests
test-all: | $(VENV) ## run all tests, and record the date in docs/guarantees.md; up to two and a half hours
	@rm -rf $(REPORTS); failed=0; for part in check test test-slow test-faults test-gpu; do \
	  PYTEST_ADDOPTS="--junitxml=$(REPORTS)/$$part.xml" $(MAKE) $$part || failed=1; done; \
	$(PY) -m tests.guarantees $(REPORTS); exit $$failed
bench: | $(VENV) ## measure training, translating and start-up, beside what this machine can do; ten minutes
	@$(PY) -m benchmarks all $(BUILD) $(PARAMS)
bench-train: | $(VENV) ## the part of it that measures training
	@$(PY) -m benchmarks train $(BUILD) $(PARAMS)
bench-decode: | $(VENV) ## the part of it that measures translating
	@$(PY) -m benchmarks decode $(BUILD) $(PARAMS)
bench-startup: | $(VENV) ## the part of it that measures how long commands take to start
	@$(PY) -m benchmarks startup $(BUILD) $(PARAMS)
bench-diff: | $(VENV) ## compare the speed of this tree with a commit, alternately: REV=HEAD~1
	@$(PY) -m benchmarks.diff "$$REV" $(BUILD) $(PARAMS)
bench-peers: | $(VENV) ## compare the speed with other toolkits, alternately: PEERS="opennmt ctranslate2"
	@$(PY) -m benchmarks.peers "$$PEERS" $(BUILD) $(PARAMS)
bench-quality: | $(VENV) ## measure how long training takes to reach a quality: BLEU="33 36"
	@$(PY) -m benchmarks.quality "$$BLEU" $(BUILD) $(PARAMS)
bench-gpu: | $(VENV) ## measure a CUDA device, then run test-gpu: a large network, time to quality, translating; 8 minutes
	@$(PY) -m benchmarks.gpu $(BUILD) $(PARAMS)
	$(PY) -m pytest -q -rs -m gpu
bench-tracking: | $(VENV) ## measure how a failing tracking server affects training; several minutes
	$(PY) -m benchmarks.tracking
bench-data: | $(VENV) ## measure the speed and the memory of the data stages: PAIRS="100000 1000000"
	@$(PY) -m benchmarks.data $(BUILD) $(PARAMS)
bench-serving: | $(VENV) ## measure the speed of `make serve` with 32 clients, for DURATION=60 seconds
	$(PY) -m benchmarks.serving $(BUILD) $(PARAMS)
clean: | $(VENV) ## delete this experiment's outputs; asks before it deletes work in progress (FORCE=1: yes)
	@$(PY) -m stages.clean $(BUILD)
gc: | $(VENV) ## list the files that no experiment needs, and delete them after a yes (FORCE=1: yes)
	@$(PY) -m stages.gc build
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' Makefile
