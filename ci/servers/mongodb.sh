# shellcheck shell=bash disable=SC2034,SC2154
# MongoDB's protocol, spoken by SecantusDB, which keeps data as MongoDB does (WiredTiger) but is not MongoDB.
# MONGOD=/path/to/mongod takes a real one.
default_port=21017

ports() {
    echo "$port"
}

install() {
    [ -n "${MONGOD:-}" ] || pypi secantus SecantusDB==0.7.0b3
}

serve() {
    if [ -n "${MONGOD:-}" ]; then
        background "$MONGOD" --bind_ip "$host" --port "$port" --dbpath "$data" --nounixsocket
    else
        : >"$state/settings.toml" # and not those it finds elsewhere
        background "$tools/secantus/bin/secantusd-py" --config "$state/settings.toml" --host "$host" --port "$port" \
            --storage-path "$data" --cache-size 256M --log-level WARNING
    fi
}

answers() {
    ask mongodb "$host" "$port"
}

address() {
    local url="mongodb://$host:$port/?directConnection=true"
    echo "$url {\"host\": \"$url\"}"
}
