# shellcheck shell=bash disable=SC2034,SC2329
# Sourced by start, stop and ci/services: where a server's things are, how it is installed, started and ended.
#
# ci/servers/NAME.sh says what a server is:
#   default_port        its port, if none is given
#   ports               every port it listens on (a function; $port is the first)
#   install             gets what is missing
#   serve               starts its processes, each by `background COMMAND...`
#   answers             is true once it answers a real request
#   address             prints "URL JSON": what opens it, and the storage options
#   client_environment  prints lines NAME=VALUE that a client's process needs (may be left out)
# It may read $port, $host, $tools, $state (a folder of this server's own) and $data (what it keeps).

set -euo pipefail
servers="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
home="${DASKZARR_SERVICES_HOME:-$HOME/.cache/daskzarr-test-servers}"
tools="$home/tools"
host=127.0.0.1
python3="${PYTHON:-python3}"
PATH="$PATH:/usr/sbin:/sbin"

say() {
    echo "${name:-servers}: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

choose() { # NAME [PORT]: reads the server's file and sets $name, $port and its folders
    name="$1"
    case "$name" in *[!a-z0-9_]* | '') fail "'$name' is no server's name" ;; esac
    case "$home" in *[[:space:]]*) fail "DASKZARR_SERVICES_HOME may hold no white space: $home" ;; esac
    [ -f "$servers/$name.sh" ] || fail "there is no such server; there are: $(every_server)"
    client_environment() { :; }
    # shellcheck source=/dev/null
    . "$servers/$name.sh"
    port="${2:-$default_port}"
    case "$port" in *[!0-9]*) fail "a port is a number, not '$port'" ;; esac
    state="$home/running/$name-$port"
    data="$state/data"
}

every_server() {
    local file
    for file in "$servers"/*.sh; do
        basename "$file" .sh
    done | grep -v lifecycle | paste -sd ' '
}

# ---- processes: a line "PID START" for each, so that a number that another process got since is left alone

start_of() { # PID: when it started, in ticks since boot; nothing if it is gone or only waits to be reaped
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 !~ /^[ZX]/ { print $20 }'
}

same_process() { # PID START
    [ -n "$2" ] && [ "$(start_of "$1")" = "$2" ]
}

running() { # whether all processes of the server are there
    local pid start
    [ -s "$state/processes" ] || return 1
    while read -r pid start; do
        same_process "$pid" "$start" || return 1
    done <"$state/processes"
}

background() { # COMMAND...: in a session of its own, with nothing of ours open
    local pid
    setsid "$@" </dev/null >>"$state/log" 2>&1 8>&- 9>&- &
    pid=$!
    disown "$pid"
    sleep 0.05
    echo "$pid $(start_of "$pid")" >>"$state/processes"
}

end_processes() { # [KILL]: the last one first; KILL asks none of them
    local pid start signal="${1:-TERM}"
    [ -s "$state/processes" ] || return 0
    tac "$state/processes" | while read -r pid start; do
        same_process "$pid" "$start" || continue
        kill "-$signal" -- "-$pid" 2>/dev/null || true
        for _ in $(seq 100); do
            same_process "$pid" "$start" || continue 2
            sleep 0.1
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
    done
    rm -f "$state/processes" "$state/address"
}

listening() { # PORT
    (exec 3<>"/dev/tcp/$host/$1") 2>/dev/null
}

wait_until_it_answers() {
    local deadline=$((SECONDS + ${DASKZARR_SERVICES_WAIT:-90}))
    until answers >>"$state/log" 2>&1; do
        if ! running || [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 30 "$state/log" >&2
            end_processes
            fail "it ended, or does not answer; the end of its log is above"
        fi
        sleep 0.1
    done
}

# ---- installing: only what is missing, one process at a time

alone() { # LOCK COMMAND...
    local lock="$1"
    shift
    mkdir -p "$tools"
    exec 8>"$tools/$lock.lock"
    flock 8
    "$@"
    exec 8>&-
}

debian() { # PACKAGE...
    alone debian install_debian "$@"
}

install_debian() {
    local package policy=/usr/sbin/policy-rc.d missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} != 0 ] || return 0
    command -v apt-get >/dev/null || fail "it needs the Debian packages ${missing[*]}, and there is no apt-get here"
    [ "$(id -u)" = 0 ] || fail "only root can install the Debian packages ${missing[*]}: apt-get install ${missing[*]}"
    say "installs the Debian packages ${missing[*]}"
    local made=""
    if [ ! -e "$policy" ]; then # or the packages would start servers of their own
        made=1
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    local done_well=1
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >&2 </dev/null || say "the lists of packages could not be brought up to date"
    apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2 </dev/null || done_well=""
    [ -z "$made" ] || rm -f "$policy"
    [ -n "$done_well" ] || fail "the Debian packages ${missing[*]} could not be installed"
}

pypi() { # ENVIRONMENT REQUIREMENT...: an environment at $tools/ENVIRONMENT with just that
    alone "$1" install_pypi "$@"
}

install_pypi() {
    local place="$tools/$1"
    shift
    [ "$(cat "$place/installed" 2>/dev/null)" != "$*" ] || return 0
    say "installs $* from PyPI"
    rm -rf "$place"
    { "$python3" -m venv "$place" && "$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; } \
        >&2 </dev/null || fail "$* could not be installed"
    echo "$*" >"$place/installed"
}

npm_registry() { # FOLDER REQUIREMENT: at $tools/FOLDER/node_modules
    command -v npm >/dev/null || debian nodejs npm
    alone "$1" install_npm "$@"
}

install_npm() {
    local place="$tools/$1"
    [ "$(cat "$place/installed" 2>/dev/null)" != "$2" ] || return 0
    say "installs $2 from npm"
    mkdir -p "$place"
    npm install --prefix "$place" --no-audit --no-fund --loglevel=error "$2" >&2 </dev/null ||
        fail "$2 could not be installed"
    echo "$2" >"$place/installed"
}

ask() { # KIND ARGUMENT...: a first request (first_request.py says which)
    "$python3" "$servers/first_request.py" "$@"
}
