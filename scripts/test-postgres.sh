#!/usr/bin/env bash
# Runs a command with a throw-away PostgreSQL cluster beside it:
#   scripts/test-postgres.sh cargo test --workspace
# The command gets VOCERO_TEST_POSTGRES_URL (an administrator's address) and VOCERO_REQUIRE_POSTGRES=1.
# The cluster listens on loopback only, at a free port, lives in a temporary folder, and is gone afterwards.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: $0 <command> [argument…]" >&2
    exit 2
fi

# Prints the folder with PostgreSQL's server programs; newest version first.
find_binaries() {
    local folder
    folder=$(dirname "$(command -v initdb || echo none/none)")
    if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ]; then
        echo "$folder"
        return
    fi
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin | sort -rV); do
        if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ]; then
            echo "$folder"
            return
        fi
    done
    return 1
}

if ! binaries=$(find_binaries); then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
        echo "installing PostgreSQL for the tests" >&2
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >&2
    fi
    if ! binaries=$(find_binaries); then
        echo "PostgreSQL is needed for the tests; install it with:" >&2
        echo "    sudo apt-get install postgresql      (or: brew install postgresql)" >&2
        exit 1
    fi
fi

# initdb refuses to run as root, so root hands the cluster to a user without rights.
as_owner() { "$@"; }
owner=$(id -un)
if [ "$(id -u)" -eq 0 ]; then
    owner=postgres
    id "$owner" > /dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin "$owner"
    as_owner() { setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups -- "$@"; }
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/vocero-postgres.XXXXXX")
command_pid=
clean_up() {
    trap - EXIT INT TERM HUP
    if [ -n "$command_pid" ]; then
        kill "$command_pid" 2> /dev/null || true
        wait "$command_pid" 2> /dev/null || true
    fi
    (cd / && as_owner "$binaries/pg_ctl" -D "$folder/data" -m immediate -w stop) > /dev/null 2>&1 || true
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
chown "$owner" "$folder"

(
    cd /
    as_owner "$binaries/initdb" -D "$folder/data" -U vocero --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
        --no-sync > "$folder/initdb.log" 2>&1
) || { cat "$folder/initdb.log" >&2; exit 1; }

# Nothing in the cluster outlives the command, so nothing needs to reach the disk.
settings="-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c synchronous_commit=off"
settings="$settings -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB"
started=
for _attempt in 1 2 3 4 5; do
    # Somebody else may take the port between here and the start, hence the attempts.
    port=$((20000 + RANDOM % 20000))
    if (cd / && as_owner "$binaries/pg_ctl" -D "$folder/data" -l "$folder/log" -w -t 60 \
        -o "$settings -c port=$port" start) > "$folder/start.log" 2>&1; then
        started=yes
        break
    fi
done
if [ -z "$started" ]; then
    cat "$folder/start.log" "$folder/log" >&2 || true
    exit 1
fi

export VOCERO_TEST_POSTGRES_URL="postgres://vocero@127.0.0.1:$port/postgres"
export VOCERO_REQUIRE_POSTGRES=1
"$@" <&0 &
command_pid=$!
status=0
wait "$command_pid" || status=$?
command_pid=
exit "$status"
