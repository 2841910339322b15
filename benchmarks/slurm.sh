#!/bin/bash
# A sweep through a real SLURM on this machine: queued, preempted by requeue in mid-run, one job cancelled, gone on with,
# compared with a sweep without a queue. Needs root and Debian's packages slurm-wlm and munge (apt-get install slurm-wlm munge).
#   benchmarks/slurm.sh [FOLDER]       prints what it saw; exit code 0 if every number is the same
set -euo pipefail
folder=$(realpath -m "${1:-$(mktemp -d)}")
host=$(hostname -s)
mkdir -p "$folder" /etc/slurm /var/spool/slurmctld /var/spool/slurmd /run/munge /run/slurm

cat > /etc/slurm/slurm.conf <<END
ClusterName=marlx
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
ReturnToService=2
MinJobAge=3600
JobAcctGatherType=jobacct_gather/none
NodeName=$host CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
grep -q "$host" /etc/hosts || echo "127.0.0.1 $host" >> /etc/hosts
pgrep munged > /dev/null || { chown -R munge: /run/munge; su -s /bin/sh munge -c munged; }
pgrep slurmctld > /dev/null || slurmctld
pgrep slurmd > /dev/null || slurmd
for _ in $(seq 30); do sinfo -h -o %T 2> /dev/null | grep -q idle && break; sleep 1; done
scontrol update NodeName="$host" State=RESUME 2> /dev/null || true
sinfo

cat > "$folder/sweep.toml" <<END
algorithm = ["vdn", "iql"]
environment = "matrix_game"
seeds = 4
[set]
agent.hidden_size = 8
training.total_steps = 400_000
training.num_envs = 8
training.batch_size = 8
training.buffer_size = 64
evaluation.interval = 40_000
evaluation.episodes = 2
[axes]
training.learning_rate = [1e-3, 5e-4]
END
marlx="${PYTHON:-python3} -m marlx"
$marlx sweep "$folder/sweep.toml" --out "$folder/queued" --launcher slurm --resource timeout_min=30
$marlx sweep "$folder/sweep.toml" --out "$folder/queued" --launcher slurm    # nothing is queued twice
while [ -z "$(ls "$folder"/queued/*/metrics/*.parquet 2> /dev/null)" ]; do sleep 0.2; done
sleep 2
job=$(squeue -h -t R -o %A | head -1)
echo "job $job is at work: it is asked to save, as before a preemption, and queued again"
scancel --signal=USR2 "$job"
sleep 5
$marlx sweep "$folder/sweep.toml" --out "$folder/queued" --status
while [ -z "$(squeue -h -t R -o %A)" ]; do sleep 0.2; done
job=$(squeue -h --array -t R -o %i | tail -1)
echo "job $job is cancelled"
scancel "$job"
while [ -n "$(squeue -h -o %A)" ]; do sleep 2; done
$marlx sweep "$folder/sweep.toml" --out "$folder/queued" --status | tee "$folder/status"
grep -q failed "$folder/status"
$marlx sweep "$folder/sweep.toml" --out "$folder/queued" --launcher slurm    # only what failed
while [ -n "$(squeue -h -o %A)" ]; do sleep 2; done
cat "$folder"/queued/jobs/*/*.err | grep -i -E "preempt|requeue|checkpoint" || true
grep -h "going on from" "$folder"/queued/*/events.log
$marlx sweep "$folder/sweep.toml" --out "$folder/queued" --quiet
$marlx sweep "$folder/sweep.toml" --out "$folder/here" --quiet > /dev/null
cmp "$folder/queued/results.parquet" "$folder/here/results.parquet" && echo "every number is the same"
