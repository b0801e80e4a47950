# shellcheck shell=bash disable=SC2034,SC2154
# Azure Blob Storage by Azurite, Microsoft's emulator. It forgets what it was given last when it is killed.
default_port=21100
account=devstoreaccount1 container=daskzarr
# The key every Azurite has, as its documentation gives it: no secret.
account_key="Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

ports() {
    echo "$port"
}

install() {
    npm_registry azurite azurite@3.37.0
}

serve() {
    background "$tools/azurite/node_modules/.bin/azurite-blob" --blobHost "$host" --blobPort "$port" \
        --location "$data" --silent --skipApiVersionCheck --disableTelemetry
}

answers() {
    ask azure "$host" "$port" "$account" "$account_key" "$container"
}

address() {
    local endpoint="http://$host:$port/$account" string
    string="DefaultEndpointsProtocol=http;AccountName=$account;AccountKey=$account_key;BlobEndpoint=$endpoint;"
    printf 'abfs://%s {"account_name": "%s", "account_key": "%s", "connection_string": "%s"}\n' \
        "$container" "$account" "$account_key" "$string"
}
