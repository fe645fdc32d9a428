#!/usr/bin/env bash
# Train with `accelerate launch`: cluster/accelerate.sh 8   (number of processes, then options; EXP=name)
# To restart after a failure, use make train: --max_restarts alone is not enough (see stages/launch.py).
# Without GPUs, set ACCELERATE_USE_CPU=true.
set -eu
processes=$1; shift
build=build/${EXP:-default}
make encode
exec .venv/bin/accelerate launch --config_file accelerate.yaml --num_processes "$processes" "$@" -m stages.train \
    "$build"/stamps/train.json "$build"/{corpus,tokenizer,encoded}/manifest.json "$build"/model
