#!/bin/bash
#SBATCH --job-name=chunkscale
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
# A job with a time limit: two minutes before it, Slurm sends SIGTERM. The run then ends between two
# regions with exit code 4, and the job goes back into the queue, where --resume goes on.
#
#   sbatch resume_job.sh SRC DST [OPTIONS]       (without Slurm: bash resume_job.sh SRC DST)
trap 'kill -TERM "$run" 2>/dev/null' TERM
chunkscale resample "$1" "$2" --resume "${@:3}" &
run=$!
wait "$run"; code=$?
# A signal ends the first wait; the second one gives the exit code.
if [ "$code" -gt 128 ]; then wait "$run"; code=$?; fi
if [ "$code" -eq 4 ] && [ -n "$SLURM_JOB_ID" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
