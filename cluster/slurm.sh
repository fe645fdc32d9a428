#!/usr/bin/env bash
# Training on several machines under SLURM: sbatch cluster/slurm.sh   (EXP=name, for another experiment than the default)
# All machines see this directory. Ten minutes before the time limit, or when the job is preempted, training saves a
# checkpoint and leaves; the job goes into the queue again, and on from there.
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
export MASTER # the port: below those that systems give to connections
MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((10000 + SLURM_JOB_ID % 20000))
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # since SLURM 22.05, srun does not ask for what the job asked for

leaving= ending=
trap 'woken=yes leaving=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1 # to the steps, not to this script
trap 'woken=yes ending=yes' TERM # SLURM ends the job, its steps too, and decides itself whether it is queued again

# Make a target in a step: TARGET [OPTION OF SRUN]...; returns if it is made. A step that was told to stop ends with 0.
# When a machine is lost, the others would wait for it until the time limit: a quarter of an hour is enough (--wait).
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
