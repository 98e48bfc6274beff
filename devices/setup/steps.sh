# shellcheck shell=bash
# The steps that every board shares; sourced by the script of the board. Each may be done again and changes nothing then.

rule=/etc/udev/rules.d/70-kdlight-edge.rules
program=/usr/local/bin/kdlight-edge

usage() {
    # The lines of the script's head, without their mark.
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

read_flags() {
    dry_run=no remove=no drop_ins=() wheel='' wheels='' from=() what=kdlight-edge service=()
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry_run=yes ;;
            --remove) remove=yes ;;
            --wheel)
                wheel=${2:?--wheel needs a file}
                shift
                ;;
            --wheels)
                wheels=${2:?--wheels needs a folder}
                shift
                ;;
            --model | --source | --name | --options)
                service+=("$1" "${2:?$1 needs a value}")
                shift
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *)
                usage >&2
                exit 2
                ;;
        esac
        shift
    done
    if [ -n "$wheel" ]; then
        [ -f "$wheel" ] || fail "there is no wheel at $wheel; scripts/build makes it"
        what=$(realpath "$wheel")
    fi
    if [ -n "$wheels" ]; then
        [ -d "$wheels" ] || fail "there is no folder of wheels at $wheels; pip download makes one"
        from=(--no-index --find-links "$(realpath "$wheels")")
    fi
}

# Runs a command as root, or only shows it.
as_root() {
    echo "+ $*" >&2
    [ "$dry_run" = yes ] && return 0
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root, and sudo is not here; run it as: su -c '$0 ...'"
    fi
}

need_board() {
    # $1: a word in the device tree's model; $2: the board for people. A lab says itself which board it stands for.
    local model='' told=${KDLIGHT_BOARD_MODEL_FILE:-/proc/device-tree/model}
    [ -r "$told" ] && model=$(tr -d '\0' <"$told")
    if [[ $model == *"$1"* ]] && [ "$(uname -m)" = aarch64 ]; then
        echo "this is a $model"
    elif [ "$dry_run" = yes ]; then
        echo "this is no $2 with a 64-bit system (${model:-$(uname -m)}); what would be done on one:"
    else
        fail "this is no $2 with a 64-bit system (${model:-no device tree}, $(uname -m)); its wheels need one"
    fi
}

need_python() {
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        fail "$(python3 --version 2>&1) is too old; kdlight-edge needs 3.10, as Debian 12 and JetPack 6 have it"
    fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        as_root apt-get update -q
        as_root apt-get install -y -q python3-venv
    fi
}

make_environment() {
    # $@: flags of python3 -m venv.
    if [ ! -x /opt/kdlight-edge/bin/python ]; then
        as_root python3 -m venv "$@" /opt/kdlight-edge
    fi
    as_root /opt/kdlight-edge/bin/pip install --quiet --upgrade ${from[@]+"${from[@]}"} "${what}[runtime,mqtt,update]"
    [ "$dry_run" = yes ] || echo "/opt/kdlight-edge takes $(du -sm /opt/kdlight-edge | cut -f1) MB"
}

name_camera() {
    # /dev/kdlight-camera stays the same camera over reboots and moved plugs.
    write_file "$rule" <"$(dirname "$0")/../kdlight_devices/units/${rule##*/}"
    as_root udevadm control --reload
    as_root udevadm trigger --subsystem-match=video4linux
}

join_groups() {
    # $@: groups whose devices the person who runs this may then use by hand; the service has a user of its own.
    local person=${SUDO_USER:-${USER:-root}} group
    [ "$person" != root ] || return 0
    for group in "$@"; do
        id -nG "$person" | tr ' ' '\n' | grep -qx "$group" && continue
        as_root usermod -aG "$group" "$person"
        echo "$person is in the group $group from the next log-in on"
    done
}

write_file() {
    # $1: the file; its text comes on stdin.
    local text
    text=$(cat)
    [ "$(cat "$1" 2>/dev/null)" = "$text" ] && return 0
    as_root mkdir -p "$(dirname "$1")"
    as_root tee "$1" >/dev/null <<<"$text"
}

make_service() {
    if [ ${#service[@]} = 0 ]; then
        echo "the program is in place; --model NAME.kdl makes it a service"
    else
        as_root /opt/kdlight-edge/bin/kdlight-edge service install "${service[@]}"
    fi
    as_root ln -sfn /opt/kdlight-edge/bin/kdlight-edge "$program"
}

take_away_if_asked() {
    # Drop-ins are files of the board's script. What services have stored in /var/lib stays, and so do groups.
    local settings name file
    [ "$remove" = yes ] || return 0
    for settings in /etc/kdlight-edge/*.env; do
        [ -f "$settings" ] || continue
        name=$(basename "$settings" .env)
        [ "$name" != kdlight-edge ] || name=''
        as_root /opt/kdlight-edge/bin/kdlight-edge service uninstall ${name:+--name "$name"}
    done
    for file in ${drop_ins[@]+"${drop_ins[@]}"} "$rule" "$program"; do
        [ -e "$file" ] || [ -L "$file" ] || continue
        as_root rm -f "$file"
        # The folder of a unit's drop-ins, where it is empty now.
        case $file in *.d/*.conf) as_root rmdir --ignore-fail-on-non-empty "${file%/*}" ;; esac
    done
    [ ! -d /opt/kdlight-edge ] || as_root rm -rf /opt/kdlight-edge
    as_root udevadm control --reload
    as_root systemctl daemon-reload
    [ "$dry_run" = yes ] || echo "taken away; what was stored in /var/lib, and keys in /etc/kdlight-edge, are kept"
    exit 0
}
