# shellcheck shell=bash disable=SC2034,SC2154
# SFTP by OpenSSH, with keys of its own, for the user that starts it.
default_port=21222

ports() {
    echo "$port"
}

install() {
    command -v sshd >/dev/null || debian openssh-server
    command -v sftp >/dev/null || debian openssh-client
}

serve() {
    local side
    for side in server client; do
        rm -f "$state/$side" "$state/$side.pub"
        ssh-keygen -q -t ed25519 -N "" -f "$state/$side" </dev/null >&2
    done
    chmod 700 "$state"
    [ "$(id -u)" != 0 ] || mkdir -p /run/sshd
    # Connections that are made at the same time are refused by chance with the usual MaxStartups.
    cat >"$state/settings" <<END
ListenAddress $host:$port
HostKey $state/server
AuthorizedKeysFile $state/client.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp
END
    background "$(command -v sshd)" -D -e -f "$state/settings"
}

answers() {
    echo "ls $data" | sftp -q -b - -P "$port" -i "$state/client" -o BatchMode=yes -o IdentitiesOnly=yes \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$(id -un)@$host"
}

address() {
    printf 'sftp://%s:%s%s {"host": "%s", "port": %s, "username": "%s", "key_filename": "%s", %s}\n' "$host" "$port" \
        "$data" "$host" "$port" "$(id -un)" "$state/client" '"look_for_keys": false, "allow_agent": false'
}
