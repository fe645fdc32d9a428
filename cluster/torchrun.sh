#!/usr/bin/env bash
# Train with `torchrun`: cluster/torchrun.sh --nproc-per-node 8   (options of torchrun; EXP=name)
# Without GPUs, set ACCELERATE_USE_CPU=true.
set -eu
build=build/${EXP:-default}
make encode
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # otherwise, with torch 2.13, processes look for dead ones after a restart
exec .venv/bin/torchrun --standalone "$@" -m stages.train \
    "$build"/stamps/train.json "$build"/{corpus,tokenizer,encoded}/manifest.json "$build"/model
