#!/bin/sh
# A job array: sbatch --array=1-4 ci/slurm.sh, then natrig report merge --out whole part-*
# NATRIG is the program, natrig in PATH unless said; what is given to sbatch behind this file is given to natrig matrix.
#SBATCH --job-name=natrig
set -eu
exec "${NATRIG:-natrig}" matrix --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --out "part-$SLURM_ARRAY_TASK_ID" "$@"
