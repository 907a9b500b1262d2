"""Two hosts as network namespaces, joined by a veth pair: what a move between hosts goes over."""
import os
import subprocess


class Hosts:
    """Source and destination: 'prefixes' run a command there, 'address' is the destination's."""

    address = "10.97.0.2"

    def __init__(self, congestion=None):
        """congestion: how TCP paces itself; None: as on this host."""
        self.congestion = congestion
        self.names = [f"mvbench{os.getpid()}{side}" for side in "ab"]
        self.prefixes = [("ip", "netns", "exec", name) for name in self.names]

    def control(self):
        """The name of it, for a table."""
        if self.congestion:
            return self.congestion
        with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as f:
            return f.read().strip()

    @staticmethod
    def _ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def __enter__(self):
        try:
            for name in self.names:
                self._ip("netns", "add", name)
            a, b = self.names
            self._ip("-n", a, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", b)
            for name, address in ((a, "10.97.0.1"), (b, self.address)):
                self._ip("-n", name, "addr", "add", f"{address}/24", "dev", "veth0")
                self._ip("-n", name, "link", "set", "veth0", "up")
                if self.congestion:
                    self._ip("-n", name, "route", "change", "10.97.0.0/24", "dev", "veth0", "scope", "link",
                             "src", address, "congctl", self.congestion)
        except subprocess.CalledProcessError as e:
            self.__exit__()
            raise RuntimeError(f"no network namespaces: {e.stderr.decode().strip()}") from e
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
