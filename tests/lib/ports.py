"""virtio-serial ports of a machine: the options that make them, and the program at the other end."""
import socket

from qmp import GUARD

AGENT = "org.qemu.guest_agent.0"
FLOOD = 65536       # what the guest sends at once


def options(path, console=None, name=AGENT, device=()):
    """A bus with a port behind a listening socket, and perhaps a console into a file."""
    extra = ["-device", ",".join(["virtio-serial-device", "id=vs0", *device]),
             "-chardev", f"socket,id=agent,path={path},server=on,wait=off",
             "-device", f"virtserialport,bus=vs0.0,nr=1,chardev=agent,id=port1,name={name}"]
    if console:
        extra += ["-chardev", f"file,id=hvc,path={console}", "-device", "virtconsole,bus=vs0.0,chardev=hvc"]
    return extra


class Client:
    """The program at the other end of a port."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(GUARD)
        self.sock.connect(path)

    def send(self, data):
        self.sock.sendall(data)

    def fill(self, data):
        """Sends what is taken without waiting; how many bytes that was."""
        self.sock.setblocking(False)
        done = 0
        try:
            while done < len(data):
                done += self.sock.send(data[done:done + 4096])
        except BlockingIOError:
            pass
        self.sock.settimeout(GUARD)
        return done

    def take(self, n):
        """Exactly n bytes."""
        got = b""
        while len(got) < n:
            part = self.sock.recv(min(65536, n - len(got)))
            assert part, f"the port closed after {len(got)} of {n} bytes"
            got += part
        return got

    def rest(self):
        """All that comes before the other end has gone."""
        got = b""
        try:
            while part := self.sock.recv(65536):
                got += part
        except ConnectionResetError:
            pass                        # it had not read everything
        return got

    def echo(self, data):
        self.send(data)
        assert self.take(len(data)) == data

    def close(self):
        self.sock.close()


def pattern(n, seed=0):
    """Bytes of which every run of four tells where it is."""
    return b"".join((i + seed).to_bytes(4, "little") for i in range((n + 3) // 4))[:n]


def stuff(vm, client, data):
    """Until the sockets and the guest's buffers are full of echoes, as far as one can see; how much that was."""
    sent, same, before = 0, 0, None
    while same < 10:
        sent += (n := client.fill(data[sent:]))
        now = vm.report()[0]
        now.pop("ticks")
        same = same + 1 if not n and now == before and now["waiting"] == 4 else 0
        before = now
    return sent


def check_echoes(vm, got, client, data):
    """What the source's peer got and what the client of the destination gets: all echoes, and the flood whole."""
    while len(got) < vm.report()[0]["echoed"] + FLOOD:
        part = client.sock.recv(65536)
        assert part, len(got)
        got += part
    at = next(i for i, (a, b) in enumerate(zip(got, data)) if a != b) // 4 * 4
    assert got[at:at + FLOOD] == pattern(FLOOD), (at, len(got))
    assert got[:at] + got[at + FLOOD:] == data[:len(got) - FLOOD], (at, len(got))
