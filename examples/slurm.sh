#!/bin/bash
#SBATCH --job-name=chunkscale
#SBATCH --time=04:00:00
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
# A job with a time limit: two minutes before it, Slurm sends SIGTERM. The run then ends between two
# regions with exit status 4, and the job goes back into the queue, where --resume goes on.
#
#   sbatch slurm.sh chunkscale resample SRC OUT --resume --voxel-size 0.5um --memory 48GiB
[ "$#" -gt 0 ] || { echo "usage: sbatch slurm.sh chunkscale resample SRC OUT --resume ..." >&2; exit 2; }
told=""
trap 'told=yes; kill -TERM "$run" 2>/dev/null' TERM
"$@" &
run=$!
if [ -n "$told" ]; then kill -TERM "$run"; fi  # the signal was faster than the line above
wait "$run"; code=$?
# A signal ends the first wait; the second one gives the exit status.
if [ "$code" -gt 128 ]; then wait "$run"; code=$?; fi
if [ "$code" -eq 4 ] && [ -n "$SLURM_JOB_ID" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
