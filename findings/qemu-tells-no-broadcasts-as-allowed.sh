#!/bin/bash
# QEMU: broadcast-allowed in query-rx-filter's answer is true when the guest has turned broadcasts off, and false else
#
# version    qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3 of Debian 12 (the same in 10.0 and 11.1)
# guess      true for a card that no driver has touched, which lets everything through ("promiscuous": true), and
#            false when the driver has sent VIRTIO_NET_CTRL_RX_NOBCAST with 1
# behaviour  the other way round, each time: what is told is "no broadcasts". A manager that set up the host's end
#            by this answer would let in what the guest does not want, and keep out its ARP
# seen       "broadcast-allowed: untouched false, turned off true, turned on false"
#
# Fails when that is another line. The driver is this script: it writes to the device's registers and rings over
# -qtest, and the vCPU never runs. Needs apt-get with a package list of Debian, dpkg-deb, python3; no KVM.
set -eu
version=1:7.2+dfsg-7+deb12u18+b3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# Debian 12's packages from the place that this host's come from, in a world of their own.
# shellcheck disable=SC2016
site=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
mkdir -p apt/state/lists/partial apt/cache/archives/partial apt/etc/preferences.d root
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site bookworm main" >apt/etc/list
world() {
	apt-get -o Dir="$tmp/apt" -o Dir::State="$tmp/apt/state" -o Dir::State::status="$tmp/apt/status" \
		-o Dir::Cache="$tmp/apt/cache" -o Dir::Etc="$tmp/apt/etc" -o Dir::Etc::SourceList="$tmp/apt/etc/list" \
		-o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o APT::Sandbox::User=root -o Debug::NoLocking=1 \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@" >log 2>&1 </dev/null || { tail log; exit 1; }
}
world update
world install -y --no-install-recommends --download-only "qemu-system-x86=$version"
(cd root && mkdir -p usr/lib usr/lib64 usr/bin usr/sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64 &&
	ln -s usr/bin bin && ln -s usr/sbin sbin)
for deb in apt/cache/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C root
done

libs=root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$tmp/$libs/qemu
cat >ask <<'P'
import json
import socket
import subprocess
import sys

RINGS, DATA = 0x100000, 0x200000        # in guest RAM
REGISTERS = 0xfeb00000


class Line:
    """A connection to QEMU that is there from its start, in lines."""

    def __init__(self):
        ours, self.theirs = socket.socketpair()
        self.file = ours.makefile("rw")

    def ask(self, text):
        self.file.write(text + "\n")
        self.file.flush()
        return self.next()

    def next(self):
        return self.file.readline() or sys.exit("QEMU has ended")


monitor, bus = Line(), Line()
fds = [line.theirs.fileno() for line in (monitor, bus)]
vm = subprocess.Popen([*sys.argv[1:], "-chardev", f"socket,id=m,fd={fds[0]}", "-mon", "chardev=m,mode=control", "-chardev",
                       f"socket,id=qtest,fd={fds[1]}", "-qtest", "chardev:qtest", "-qtest-log", "none"],
                      pass_fds=fds, stdin=subprocess.DEVNULL)
for line in (monitor, bus):
    line.theirs.close()
monitor.next()
monitor.ask('{"execute": "qmp_capabilities"}')


def told():
    answer = json.loads(monitor.ask('{"execute": "query-rx-filter"}'))
    while "event" in answer:
        answer = json.loads(monitor.next())
    return str(answer["return"][0]["broadcast-allowed"]).lower()


def do(words):
    answer = bus.ask(words)
    while answer.startswith("IRQ"):
        answer = bus.next()
    assert answer.startswith("OK"), answer
    return int((answer.split()[1:] or ["0"])[0], 16)


def put(where, data):
    do(f"write {where:#x} {len(data):#x} 0x{data.hex()}")


slot = next(a for a in range(REGISTERS, REGISTERS + 24 * 512, 512) if do(f"readl {a + 8:#x}") == 1)
assert do(f"readl {slot + 4:#x}") == 1      # the registers of the first version


def register(offset, value):
    do(f"writel {slot + offset:#x} {value:#x}")


def begin():
    """What a driver does, as far as the control queue, 2, goes. Features: CTRL_VQ, CTRL_RX, CTRL_RX_EXTRA."""
    for offset, value in ((0x70, 1), (0x70, 3), (0x24, 0), (0x20, 1 << 17 | 1 << 18 | 1 << 20), (0x28, 4096), (0x30, 2),
                          (0x38, 64), (0x3c, 4096), (0x40, RINGS // 4096), (0x70, 7)):
        register(offset, value)


sent = 0


def no_broadcasts(on):
    """Class 0 (receive mode), command 5 (no broadcasts): header and value of the driver's, an answer of the device's."""
    global sent
    put(DATA, bytes((0, 5, on, 0xff)))
    for n, (start, size, flags) in enumerate(((0, 2, 1), (2, 1, 1), (3, 1, 2))):
        put(RINGS + 16 * n, (DATA + start).to_bytes(8, "little") + size.to_bytes(4, "little") +
            flags.to_bytes(2, "little") + (n + 1).to_bytes(2, "little"))
    sent += 1
    put(RINGS + 1024 + 2, sent.to_bytes(2, "little"))       # every entry of the ring is 0, the head
    register(0x50, 2)
    while do(f"readb {DATA + 3:#x}") == 0xff:
        pass
    assert do(f"readb {DATA + 3:#x}") == 0


says = [f"untouched {told()}"]
begin()
no_broadcasts(1)
says.append(f"turned off {told()}")
no_broadcasts(0)
says.append(f"turned on {told()}")
print("broadcast-allowed: " + ", ".join(says))
monitor.ask('{"execute": "quit"}')
vm.wait()
P
seen=$(python3 ask "$libs/ld-linux-x86-64.so.2" --library-path "$libs" root/usr/bin/qemu-system-x86_64 \
	-L root/usr/share/qemu -L root/usr/share/seabios -accel tcg -m 32 -display none -nodefaults \
	-M microvm,x-option-roms=off -S -netdev user,id=n -device virtio-net-device,netdev=n)
echo "$seen"
[ "$seen" = "broadcast-allowed: untouched false, turned off true, turned on false" ]
