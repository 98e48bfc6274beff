#!/usr/bin/env bash
# Sets a Jetson (JetPack 6) up: environment with the system's TensorRT, program, and with --model the service of a camera.
# usage: jetson.sh [--dry-run] [--wheel FILE.whl] [--wheels DIR]
#            [--model NAME.kdl [--source URI] [--name NAME] [--options TEXT]]
#   --dry-run   show every command and run none
#   --wheel     install this build; otherwise the released one
#   --wheels    take all packages from this folder and none from the network
# It may be run again at any time: what is in place already is left alone.

set -euo pipefail
# shellcheck source=devices/setup/steps.sh
source "$(dirname "$0")/steps.sh"

read_flags "$@"
need_board "NVIDIA" "Jetson"
need_python
# TensorRT comes with JetPack and not from the package index: the environment sees the system's packages.
make_environment --system-site-packages
for unit in kdlight-edge{,@,-update,-update@}.service; do
    write_file "/etc/systemd/system/$unit.d/10-jetson.conf" <"$(dirname "$0")/../kdlight_devices/units/10-jetson.conf"
done
as_root systemctl daemon-reload
name_camera
join_groups video render
make_service
