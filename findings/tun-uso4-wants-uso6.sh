#!/bin/bash
# Linux tap: UDP segmentation for IPv4 is refused unless IPv6's is asked for, too
#
# version    Linux 6.2 and later (seen with 6.18), TUNSETOFFLOAD; TUN_F_USO4 0x20 and TUN_F_USO6 0x40 of the kernel
# guess      like TUN_F_TSO4 and TUN_F_TSO6, each of the two may be switched on by itself: virtio-net has a feature
#            bit for each (54, 55), and a guest negotiates one without the other as it likes
# behaviour  TSO4 or TSO6 alone is taken, USO4 or USO6 alone is EINVAL, only both together are taken. A program
#            that passes a guest's choice on fails the guest's command, or the load of a guest that has made it
# seen       "tso4 ok, tso6 ok, uso4 Invalid argument, uso6 Invalid argument, both uso ok"
#
# Fails when one alone is taken. Needs a kernel of 6.2 or later, /dev/net/tun, unshare (or root), python3; the tap
# lives in a network namespace of its own.
set -eu
try=$(cat <<'P'
import fcntl
import os
import struct

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TAP, NO_PI, VNET_HDR = 0x0002, 0x1000, 0x4000
CSUM, TSO4, TSO6, USO4, USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"probe0", TAP | NO_PI | VNET_HDR))


def asked(offloads):
    try:
        fcntl.ioctl(tap, TUNSETOFFLOAD, CSUM | offloads)
        return "ok"
    except OSError as e:
        return e.strerror


print(", ".join(f"{name} {asked(bits)}" for name, bits in (
    ("tso4", TSO4), ("tso6", TSO6), ("uso4", USO4), ("uso6", USO6), ("both uso", USO4 | USO6))))
P
)
seen=$(unshare -rn python3 -c "$try")
echo "$seen"
[ "$seen" = "tso4 ok, tso6 ok, uso4 Invalid argument, uso6 Invalid argument, both uso ok" ]
