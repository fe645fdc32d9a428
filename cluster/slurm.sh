#!/usr/bin/env bash
# Train on several machines under SLURM: sbatch cluster/slurm.sh   (EXP=name for another experiment than the default)
# All machines must see this directory. Ten minutes before the time limit, and when the job is preempted, training saves
# a checkpoint and stops; the job is requeued and continues from the checkpoint.
#SBATCH --job-name=translator
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@600
set -u
export NPROC=${SLURM_GPUS_ON_NODE:-1}
export MASTER # the port is below those that systems give to outgoing connections
MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((10000 + SLURM_JOB_ID % 20000))
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # since SLURM 22.05, srun does not inherit this

leaving= ending=
trap 'woken=yes leaving=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1 # signals the steps, not this script
trap 'woken=yes ending=yes' TERM # SLURM ends the job with its steps, and decides whether to requeue it

# Make a target in a step: TARGET [OPTION OF SRUN]...; return if it is made. A step that was told to stop ends with 0.
# When a machine is lost, the others wait for it for a quarter of an hour (--wait), not until the time limit.
step() {
    make -q "$1" && return
    status=0
    if [ ! "$leaving$ending" ]; then
        srun --kill-on-bad-exit=1 --wait=900 "${@:2}" \
            bash -c 'trap stopped=yes TERM; make "$0" NODE_RANK="$SLURM_NODEID" || [ "${stopped:-}" ]' "$1" &
        while woken=; wait $!; status=$?; [ "$woken" ]; do :; done # a trapped signal ends `wait` before the step ends
        make -q "$1" && return
    fi
    [ "$ending" ] && exit "$status"
    [ "$status" = 0 ] || [ "$leaving" ] || exit "$status"
    exec scontrol requeue "$SLURM_JOB_ID"
}

step encode --nodes=1 --ntasks=1
NODES=$SLURM_NNODES step train
step all --nodes=1 --ntasks=1
