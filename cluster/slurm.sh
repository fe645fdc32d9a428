#!/usr/bin/env bash
# Training on several machines under SLURM: sbatch cluster/slurm.sh   (EXP=name, for another experiment than the default)
# All machines see this directory. Ten minutes before the time limit, or when the job is preempted, training saves a
# checkpoint and leaves; the job puts itself into the queue again and goes on from there.
#SBATCH --job-name=translator
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@600
set -u
processes=${SLURM_GPUS_ON_NODE:-1}
port=$((20000 + SLURM_JOB_ID % 20000))
master=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$port

make encode || exit # the stages before training, on one machine
make -q train && exit 0

srun bash -c "exec make train NPROC=$processes NODES=$SLURM_NNODES NODE_RANK=\$SLURM_NODEID MASTER=$master" &
step=$!
trap 'requeue=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1 TERM
requeue=no
wait "$step"; status=$?
while kill -0 "$step" 2>/dev/null; do wait "$step"; status=$?; done # a trapped signal ends `wait` before the step ends
[ "$requeue" = yes ] && exec scontrol requeue "$SLURM_JOB_ID"
[ "$status" = 0 ] && make
