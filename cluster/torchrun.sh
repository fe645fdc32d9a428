#!/usr/bin/env bash
# Training with `torchrun` by hand: cluster/torchrun.sh --nproc-per-node 8   (torchrun's options; EXP=name)
# Without GPUs it needs ACCELERATE_USE_CPU=true.
set -eu
build=build/${EXP:-default}
make encode
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # torch 2.13: otherwise processes look for dead ones after a restart
exec .venv/bin/torchrun --standalone "$@" -m stages.train \
    "$build"/stamps/train.json "$build"/{corpus,tokenizer,encoded}/manifest.json "$build"/model
