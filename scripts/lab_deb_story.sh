#!/usr/bin/env bash
# What scripts/lab-deb tries inside the container, as root and without a network: the life of the Debian package.
set -euo pipefail
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
first=(./kdlight-edge_*-1+*.deb) second=(./kdlight-edge_*-2+*.deb)

say() { echo "$*"; }
expect() {
    # $1: what should be so; the rest: a command that tells.
    local what=$1
    shift
    if "$@" >/root/deb/told 2>&1; then
        say "  $what"
    else
        say "FAILED: $what"
        cat /root/deb/told
        journalctl --no-pager --lines 20 --unit kdlight-edge || true
        exit 1
    fi
}
absent() { ! [ -e "$1" ]; }
gives_results() {
    local left=120
    until systemctl show kdlight-edge --property=StatusText | grep -q frames/s; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.25
    done
}
timed() {
    local started=$EPOCHREALTIME
    "${@:2}" >/root/deb/told 2>&1 || { say "FAILED: $1"; cat /root/deb/told; exit 1; }
    say "$1: $(awk "BEGIN { printf \"%.1f s\", $EPOCHREALTIME - $started }")"
}

timed "apt install ./kdlight-edge.deb" apt-get install -y -qq "${first[0]}"
say "  takes $(du -sm /usr/lib/kdlight-edge | cut -f1) MB with byte code; the file $(($(stat -c %s "${first[0]}") / 1000000)) MB"
expect "every file is as it was packed" dpkg --verify kdlight-edge
expect "the settings file is a conffile" grep -q /etc/kdlight-edge/kdlight-edge.env /var/lib/dpkg/info/kdlight-edge.conffiles
expect "nothing runs that nobody asked for" bash -c '! systemctl is-enabled --quiet kdlight-edge'
expect "doctor finds the program's packages" kdlight-edge doctor
expect "systemd-analyze verify is silent about the unit" bash -c '! systemd-analyze verify --man=no /usr/lib/systemd/system/kdlight-edge.service 2>&1 | grep kdlight'
expect "udev takes the rule" bash -c '! udevadm test /sys/class/mem/null 2>&1 | grep -i "70-kdlight.*\(unknown\|invalid\|failed\)"'
timed "service install" kdlight-edge service install --model surface-crack.kdl --source scene:crack
expect "the package's own unit serves" absent /etc/systemd/system/kdlight-edge.service
expect "it gives results" gives_results
before=$(systemctl show kdlight-edge --property=MainPID)

sed -i 's/KDLIGHT_OPTIONS=.*/KDLIGHT_OPTIONS="--max-age 0.5"/' /etc/kdlight-edge/kdlight-edge.env
timed "apt install of the next version" apt-get install -y -qq "${second[0]}"
expect "the version is the next one" bash -c 'dpkg-query -W kdlight-edge | grep -q -- -2+'
expect "edited settings are kept" grep -q -- '--max-age 0.5' /etc/kdlight-edge/kdlight-edge.env
expect "the service went on with the new version" bash -c "until [ \"\$(systemctl show kdlight-edge --property=MainPID)\" != '$before' ]; do sleep 0.1; done"
expect "it gives results" gives_results

timed "apt remove" apt-get remove -y -qq kdlight-edge
expect "the program is gone" absent /usr/lib/kdlight-edge
expect "the service has ended" bash -c '! systemctl is-active --quiet kdlight-edge'
expect "settings and bundle are kept" test -f /etc/kdlight-edge/kdlight-edge.env -a -d /opt/kdlight-edge/models/surface-crack.kdl
timed "apt install again" apt-get install -y -qq "${second[0]}"
expect "the service starts with its old settings" systemctl start kdlight-edge
expect "it gives results" gives_results

timed "apt purge" apt-get purge -y -qq kdlight-edge
nothing_left() {
    ! find / /run -xdev -name '*kdlight*' -not -path '/root/deb/*' -not -path '/var/log/*' -not -path '/sys/*' | grep .
}
expect "nothing is left" nothing_left
say "all of it passed"
