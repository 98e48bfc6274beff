#!/usr/bin/env bash
# Sets a Jetson (JetPack 6) up: environment with the system's TensorRT, program, and with --model the service of a camera.
# usage: jetson.sh [--dry-run] [--remove] [--wheel FILE.whl] [--wheels DIR]
#            [--model NAME.kdl [--source URI] [--name NAME] [--options TEXT]]
#   --dry-run   show every command and run none
#   --wheel     install this build; otherwise the released one
#   --wheels    take all packages from this folder and none from the network
#   --remove    take all of it away again, services too; what they have stored in /var/lib stays
# It may be run again at any time: what is in place already is left alone.

set -euo pipefail
# shellcheck source=devices/setup/steps.sh
source "$(dirname "$0")/steps.sh"

reach_cuda() {
    # TensorRT is handed its memory by PyCUDA, which a person may have compiled, or by cuda-python, which has wheels.
    local python=/opt/kdlight-edge/bin/python
    "$python" -c 'import pycuda' 2>/dev/null || "$python" -c 'import cuda.bindings' 2>/dev/null && return 0
    # JetPack 6 has CUDA 12.
    as_root /opt/kdlight-edge/bin/pip install --quiet ${from[@]+"${from[@]}"} 'cuda-bindings>=12.6,<13' ||
        echo "without cuda-bindings the GPU is not reached, and ONNX Runtime answers: kdlight-edge doctor" >&2
}

read_flags "$@"
need_board "NVIDIA" "Jetson"
for unit in kdlight-edge{,@,-update,-update@}.service; do
    drop_ins+=("/etc/systemd/system/$unit.d/10-jetson.conf")
done
take_away_if_asked
need_python
# TensorRT comes with JetPack and not from the package index: the environment sees the system's packages. JetPack's OpenCV
# (4.8, for NumPy 1) lies behind the environment's own, which is newer: pipelines run in GStreamer's own program.
make_environment --system-site-packages
reach_cuda
for file in "${drop_ins[@]}"; do
    write_file "$file" <"$(dirname "$0")/../kdlight_devices/units/10-jetson.conf"
done
as_root systemctl daemon-reload
name_camera
join_groups video render
make_service
