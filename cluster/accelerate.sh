#!/usr/bin/env bash
# Training with `accelerate launch` by hand: cluster/accelerate.sh 8   (processes; EXP=name, options after the number)
# Restarts need more than its --max_restarts (see stages/launch.py): use make train for them.
# Without GPUs it needs ACCELERATE_USE_CPU=true.
set -eu
processes=$1; shift
build=build/${EXP:-default}
make encode
exec .venv/bin/accelerate launch --config_file accelerate.yaml --num_processes "$processes" "$@" -m stages.train \
    "$build"/stamps/train.json "$build"/{corpus,tokenizer,encoded}/manifest.json "$build"/model
