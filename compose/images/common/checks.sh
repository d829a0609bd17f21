# Sourced by every entrypoint. What a restart won't mend ends with one line (setting: what is wrong; the mend) and with
# EX_CONFIG. The pause, and the engine's own growing one between restarts, keep a wrong setting from becoming a busy loop.
HOLD_SECONDS=5
EX_CONFIG=78

refuse() {
  printf 'longshore: %s\n' "$1" >&2
  sleep "$HOLD_SECONDS"
  exit "$EX_CONFIG"
}

# need_secret FILE: there, ours, and nobody else's.
need_secret() {
  [ -e "$1" ] || refuse "$1 is missing: \`docker compose up setup\` makes it, or says what to do"
  [ -r "$1" ] && [ -O "$1" ] || refuse "$1 isn't readable by its user: chown it to $(id -u):$(id -g)"
  case $(stat -c %a "$1") in
    *00) ;;
    *) refuse "$1 is readable by others (mode $(stat -c %a "$1")): chmod 600 it; if it was seen, replace it" ;;
  esac
}

# need_writable DIRECTORY SETTING: a file can be made in it.
need_writable() {
  probe=$1/.longshore-probe.$$
  # In a shell of its own: a failed redirection ends the one that it is in.
  (: >"$probe") 2>/dev/null || refuse "$2: $1 isn't writable by uid $(id -u): chown $(id -u):$(id -g) what is mounted there"
  rm -f "$probe"
}

# need_memory MEBIBYTES SETTING: the container's limit is enough to start with.
need_memory() {
  for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    [ -r "$file" ] || continue
    limit=$(cat "$file")
    case $limit in *[!0-9]* | '') continue ;; esac
    # Without a limit, cgroup v1 shows a number of 19 digits.
    [ "${#limit}" -lt 16 ] || continue
    [ "$((limit / 1048576))" -ge "$1" ] || refuse "$2: $((limit / 1048576)) MiB of memory is too little: give at least $1m"
  done
}
