"""A machine with a kernel and a disk of its own, emulated: what its memory held is gone when its power is cut."""

import base64
import shutil
import socket
import subprocess
from pathlib import Path

from scripts.lab_machine import Board, until

CONFIG = """Host board
HostName 127.0.0.1
Port {port}
User root
IdentityFile {folder}/key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
ControlMaster auto
ControlPath {folder}/link
"""
"""One connection carries every question: an emulated processor takes seconds to agree on keys."""

BOOT_SECONDS = 600
"""A machine that shares two cores with other work has taken three minutes."""

KERNEL = "root=/dev/vda rw console=ttyS0 quiet mitigations=off no_timer_check"
"""The kernel's check of its timer takes a processor that is busy elsewhere for a broken one."""


class Emulated(Board):
    """A `Board` that is no container."""

    # The last services of its boot share one emulated processor with sshd; and since OpenSSH 9.8 sshd refuses for a
    # while who has given up too often.
    patience = 30

    def _prepare(self, system: Path) -> None:
        self._system = system
        with socket.create_server(("127.0.0.1", 0)) as one:
            self._port = one.getsockname()[1]
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        kind, host = (system / "host.pub").read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self._port} {kind} {host}\n")
        self.config.write_text(CONFIG.format(port=self._port, folder=self.folder))
        self._disk = self.folder / "disk"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str((system / "disk").resolve())]
        subprocess.run([*command, str(self._disk)], check=True)

    def power_on(self) -> None:
        """Boot, and wait until ssh answers."""
        key = base64.b64encode((self.folder / "key.pub").read_bytes()).decode()
        hardware = ["-machine", "q35", "-cpu", "max", "-accel", "tcg", "-smp", "1", "-m", "1536"]
        boot = ["-kernel", str(self._system / "vmlinuz"), "-initrd", str(self._system / "initrd"), "-append", KERNEL]
        disk = ["-drive", f"file={self._disk},if=virtio,format=qcow2,cache=writeback"]
        network = ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"]
        network += ["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]
        trusted = ["-smbios", f"type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root={key}"]
        console = ["-display", "none", "-no-reboot", "-serial", f"file:{self.folder}/console"]
        command = [shutil.which("qemu-system-x86_64") or "", *hardware, *boot, *disk, *network, *trusted, *console]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        until(self._answers, "ssh", BOOT_SECONDS)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise SystemExit(f"the emulator ended with {self._process.returncode}")
        return self.ask("true", check=False).returncode == 0

    def cut_power(self) -> None:
        """End the emulator: what the machine had not yet given to its disk is lost, as when the plug is pulled."""
        process = getattr(self, "_process", None)
        if process is None:
            return
        process.kill()
        process.wait()
        subprocess.run([*self._ssh("ssh"), "-O", "exit", "board"], capture_output=True, check=False)
        del self._process
