#!/bin/sh
# A job as a Slurm array of 64 shards, 8 of them at a time:
#
#     sbatch docs/scale/slurm.sh job.toml
#
# Submit it again to take up what is left; what was answered is never asked twice. SHARDS and AT_ONCE may be changed
# between submissions, as long as no array of this output is running: shards of another N are refused with 75.
#
#SBATCH --job-name=captions
#SBATCH --array=1-64%8
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=captions-%a.log
set -eu

CONFIG=${1:?"usage: sbatch $0 CONFIG"}
SHARDS=${SHARDS:-${SLURM_ARRAY_TASK_COUNT:-64}} # all of the array's
AT_ONCE=${AT_ONCE:-8}                           # what stands after the % above
SHARE=$(awk "BEGIN { print 1 / $AT_ONCE }")     # of the account's limits, for each of them

# The journals have to lie on a file system with locks (flock) that hold across nodes: NFS 4, Lustre with -o flock,
# GPFS. With an output in an object store they lie under XDG_STATE_HOME, which should then be a node's own disk.
[ -d "${SLURM_TMPDIR:-}" ] && export TMPDIR="$SLURM_TMPDIR"

# srun, so that the signal two minutes before the end reaches the program: it drains, and exits with 143.
exec ${SLURM_JOB_ID:+srun --ntasks=1} pipeline run "$CONFIG" \
    --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" \
    --set "limits.share=$SHARE" \
    --progress log
