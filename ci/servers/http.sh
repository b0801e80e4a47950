# shellcheck shell=bash disable=SC2034,SC2154
# HTTP, and HTTPS on the next port, by nginx: the files of a folder, with parts of them and with listings.
default_port=21080

ports() {
    seq "$port" $((port + 1))
}

install() {
    command -v nginx >/dev/null || debian nginx-light
    command -v openssl >/dev/null || debian openssl
}

serve() {
    local user=""
    [ "$(id -u)" != 0 ] || user="user root;" # who can read the folder
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout "$state/key.pem" \
        -out "$state/certificate.pem" -addext "subjectAltName=DNS:localhost,IP:$host" 2>>"$state/log"
    mkdir -p "$state/unused"
    cat >"$state/settings" <<END
$user daemon off; worker_processes 1; pid $state/pid; error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off; default_type application/octet-stream; sendfile on; tcp_nodelay on;
  client_body_temp_path $state/unused; proxy_temp_path $state/unused; fastcgi_temp_path $state/unused;
  uwsgi_temp_path $state/unused; scgi_temp_path $state/unused;
  server {
    listen $host:$port; listen $host:$((port + 1)) ssl;
    ssl_certificate $state/certificate.pem; ssl_certificate_key $state/key.pem;
    root $data; autoindex on;
  }
}
END
    background "$(command -v nginx)" -p "$state" -c "$state/settings" -e stderr
}

answers() {
    ask http "http://$host:$port/"
}

address() {
    echo "http://$host:$port {}"
}

client_environment() { # nobody vouches for its certificate
    echo "DASKZARR_TEST_HTTP_FOLDER=$data"
    echo "DASKZARR_TEST_HTTPS=https://$host:$((port + 1)) {\"ssl\": false}"
}
