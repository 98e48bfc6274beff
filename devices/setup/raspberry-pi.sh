#!/usr/bin/env bash
# Sets a Raspberry Pi (64-bit system) up: environment, program, and with --model the service of a camera.
# usage: raspberry-pi.sh [--dry-run] [--remove] [--wheel FILE.whl] [--wheels DIR]
#            [--model NAME.kdl [--source URI] [--name NAME] [--options TEXT]]
#   --dry-run   show every command and run none
#   --wheel     install this build; otherwise the released one
#   --wheels    take all packages from this folder and none from the network
#   --remove    take all of it away again, services too; what they have stored in /var/lib stays
# It may be run again at any time: what is in place already is left alone.

set -euo pipefail
# shellcheck source=devices/setup/steps.sh
source "$(dirname "$0")/steps.sh"

read_flags "$@"
need_board "Raspberry Pi" "Raspberry Pi"
take_away_if_asked
need_python
# shellcheck disable=SC2119 # its flags are for the environment, not those of this script
make_environment
name_camera
join_groups video
make_service
