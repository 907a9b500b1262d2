"""A tap in a network namespace of its own, and a host behind it that sends every test frame back."""
import ctypes
import fcntl
import os
import socket
import struct
import threading

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
FRAMES = 0x88B5         # the type of the guests' frames
NAME = b"mvtap0"
TUNSETOFFLOAD = 0x400454D0
CSUM, USO, TUNNEL = 0x01, 0x60, 0x86


class TapEcho:
    """A descriptor for -netdev tap,fd=; the frames that come out of it go in again, addresses swapped."""

    def __init__(self):
        self.fd, self.error = -1, None
        self.has_uso = self.has_tunnel = False
        self._ready = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()
        self._ready.wait()

    def options(self, properties=""):
        """-netdev and -device, for Vmm's extra."""
        return ("-netdev", f"tap,id=tap0,fd={self.fd}", "-device",
                "virtio-net-device,netdev=tap0,mac=52:54:00:12:34:56" + properties)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.sock.close()

    def _takes(self, offloads):
        try:
            fcntl.ioctl(self.fd, TUNSETOFFLOAD, offloads)
            return True
        except OSError:
            return False

    def _open(self):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) < 0:     # of this thread only
            raise OSError(ctypes.get_errno(), "no network namespace")
        self.fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", NAME, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        self.has_uso, self.has_tunnel = self._takes(CSUM | USO), self._takes(CSUM | TUNNEL)
        self._takes(0)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(FRAMES))
        flags = fcntl.ioctl(self.sock, SIOCGIFFLAGS, struct.pack("16sH22x", NAME, 0))
        fcntl.ioctl(self.sock, SIOCSIFFLAGS,
                    struct.pack("16sH22x", NAME, struct.unpack("16sH22x", flags)[1] | IFF_UP))
        self.sock.bind((NAME.decode(), FRAMES))

    def _serve(self):
        try:
            self._open()
        except OSError as e:
            self.error = str(e)
        self._ready.set()
        while not self.error:
            try:
                frame, where = self.sock.recvfrom(2048)
                if where[2] != socket.PACKET_OUTGOING:
                    self.sock.send(frame[6:12] + frame[:6] + frame[12:])
            except OSError:
                return
