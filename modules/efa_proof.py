"""Whether a job really trains over EFA: shell programs for the pods of a job. Needs no Pulumi.

Two things can go wrong, and both are silent. A pod may have fewer EFA devices than its node, which `device_check`
counts before anything runs. And NCCL may find none of them usable (an image without the plugin, a security group that
lets nothing through) and go on over TCP, some tens of times slower; `guarded_launch` reads NCCL's own log for that.

NCCL writes its log to files, one for each rank, so that hundreds of lines a rank do not drown what the trainer says.
The plugin's lines, "NET/OFI Selected provider is efa, fabric is efa (found 32 nics)" and "Using transport protocol
RDMA", come before NCCL's "Init COMPLETE" of the same process. Sources: aws-ofi-nccl, src/nccl_ofi_net.cpp (older
versions write "Selected Provider"); NCCL's user guide, "Environment Variables", NCCL_DEBUG_FILE.
"""

from __future__ import annotations

NCCL_LOGS = "/tmp/nccl-%h-%p.log"  # noqa: S108 (the pod's own)
"""Host name and process stand in the name: NCCL fills them in."""

NCCL_LOG_VARIABLES = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", "NCCL_DEBUG_FILE": NCCL_LOGS}
"""What NCCL shall tell, and where. Nothing here changes how it works."""

WITHOUT_EFA_VARIABLE = "TRAINYARD_WITHOUT_EFA"
"""`refuse` or `warn`."""

REFUSED_STATUS = 2
"""The job's failure policy takes it for what no second try mends."""


def device_check(efa_interfaces: int) -> str:
    """Fails where not every EFA device has been handed in, before a GPU hour is spent on TCP."""
    return (
        'set -- /dev/infiniband/uverbs*; [ -e "$1" ] || set --; '
        f'[ $# -eq {efa_interfaces} ] || {{ echo "$# EFA devices of {efa_interfaces}; see the EFA device '
        'plugin on this node" >&2; exit 1; }'
    )


def guarded_launch() -> str:
    """Runs the trainer's launcher with its own arguments and ends with its status, unless NCCL trains without EFA.

    As soon as any rank's log says that a communicator is complete without having said that its provider is EFA, the
    program writes so to the pod's log and termination message; then it ends with `REFUSED_STATUS`, which takes the
    launcher and its ranks along, or goes on, as `TRAINYARD_WITHOUT_EFA` says. Once the ranks of this node have all
    proved EFA, it quotes them once and looks no more. A run that never sets NCCL up, one GPU alone, is left in peace.
    Where the launcher fails, NCCL's warnings follow, which would otherwise stay in the files.
    """
    logs = NCCL_LOGS.replace("%h-%p", "*")
    return (
        _GUARD.replace("@LOGS@", logs)
        .replace("@REFUSED@", f"{logs.partition('*')[0]}refused")
        .replace("@STATUS@", str(REFUSED_STATUS))
    )


# POSIX sh, with nothing but grep and coreutils, which every base image has. Signals go on to the launcher; `wait`
# returns above 128 when one has come, and is then called again. The watcher is a subshell and ends the whole by a file.
_GUARD = f"""\
trainer-launch "$@" &
job=$!
for signal in TERM INT HUP QUIT USR1 USR2; do trap "told=1; kill -$signal $job 2>/dev/null" "$signal"; done
ranks=1
for word; do
  case $word in --nproc-per-node=*) ranks=${{word#*=}};; -m|--) break;; esac
done
watch() {{
  while sleep 5; do
    proved=0
    for log in @LOGS@; do
      grep -qs 'Init COMPLETE' "$log" || continue
      if grep -qi 'NET/OFI selected provider is efa' "$log"; then proved=$((proved + 1)); continue; fi
      said="NCCL trains without EFA: $(grep -om1 'Using network .*' "$log" || echo 'no network named') in $log. Is the \
EFA plugin in the image, and the security group of the nodes open to itself both ways?"
      echo "$said" >&2
      {{ echo "$said" >/dev/termination-log; }} 2>/dev/null
      [ "${{{WITHOUT_EFA_VARIABLE}:-refuse}}" = warn ] || {{ : >@REFUSED@; kill -KILL "$job"; }}
      return
    done
    if [ "$proved" -ge "$ranks" ]; then
      grep -hioE 'NET/OFI (selected provider is|using transport protocol) .*' @LOGS@ | sort | uniq -c >&2
      return
    fi
  done
}}
watch &
watcher=$!
while :; do
  told=
  wait "$job"
  status=$?
  [ -n "$told" ] && [ "$status" -gt 128 ] || break
done
kill "$watcher" 2>/dev/null
[ ! -e @REFUSED@ ] || exit @STATUS@
[ "$status" -eq 0 ] || grep -hs 'NCCL WARN' @LOGS@ | sort | uniq | head -n 40 >&2
exit "$status"
"""
