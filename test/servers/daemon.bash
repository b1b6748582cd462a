# Shared by the server scripts (sourced, never run): starting a daemon that keeps nothing of its caller, and ending it.

# launch LOG COMMAND...: starts COMMAND as a daemon in a session of its own. Every open file above stderr is closed first,
# so that neither a lock (flock) nor a pipe of the caller outlives the caller. Sets $launched to its process id.
launch() {
  local log=$1
  shift
  (
    for fd in "/proc/$BASHPID/fd/"*; do
      fd=${fd##*/}
      [ "$fd" -gt 2 ] && eval "exec $fd>&-"
    done
    cd / && exec setsid "$@"
  ) </dev/null >>"$log" 2>&1 &
  launched=$!
}

# running PIDFILE: whether the process recorded there is alive; sets $pid.
running() {
  pid=$(head -n 1 "$1" 2>/dev/null) && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null
}

# await SECONDS COMMAND...: polls until COMMAND succeeds.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# apt PACKAGE...: installs Debian packages, without asking and without starting services.
apt() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  command -v apt-get >/dev/null || die "install by hand: $*"
  "${as_root[@]}" apt-get update -qq >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >&2
}
