# shellcheck shell=bash disable=SC2034,SC2154
# S3 by moto, an emulator in memory: a second opinion, whose errors are worded as Amazon's.
default_port=21433
bucket=daskzarr key=test-key secret=test-secret

ports() {
    echo "$port"
}

install() {
    pypi moto "moto[server,s3]==5.2.5"
}

serve() {
    background "$tools/moto/bin/moto_server" -H "$host" -p "$port"
}

answers() {
    ask s3 "$host" "$port" "$key" "$secret" "$bucket"
}

address() {
    printf 's3://%s {"key": "%s", "secret": "%s", "endpoint_url": "http://%s:%s", %s}\n' \
        "$bucket" "$key" "$secret" "$host" "$port" '"client_kwargs": {"region_name": "us-east-1"}'
}
