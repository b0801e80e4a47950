# shellcheck shell=bash disable=SC2034,SC2154
# Redis itself (Debian's). It answers once a command is in the file of its log: kill -9 loses none. (With "everysec" it
# does not wait for the file while a disk is slow; with "always" power may fail too.)
default_port=21379

ports() {
    echo "$port"
}

install() {
    command -v redis-server >/dev/null || debian redis-server
}

serve() {
    background redis-server --bind "$host" --port "$port" --daemonize no --dir "$data" \
        --databases 64 --save "" --appendonly yes --appendfsync no
}

answers() {
    ask redis "$host" "$port"
}

address() {
    echo "redis://$host:$port/0 {\"host\": \"$host\", \"port\": $port, \"db\": 0}"
}
