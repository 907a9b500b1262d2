"""Hosts that an unmodified libvirt manages, each in namespaces of its own on this machine.

A host is a root of scripts/libvirt-root with libvirtd in it, another host name and another host UUID
(tests/lib/libvirt-host sets it up). Its own directory is /own in there; /mv is one directory that all
hosts of a test have. The emulator is /own/emulator, so that a domain finds another program at the same
path on another host. Everything that a host has started ends with it.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from qmp import GUARD, Closed, Hang
from vmm import BUILD, PROGRAMS, ROOT, Serial, guest_path

VERSIONS = ("9.0", "11.3", "12.9")
OURS_ONLY = "it is about minivmm"
HOST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libvirt-host")
KEPT = os.path.join(BUILD, "check", "libvirt")
RESULTS = os.path.join(BUILD, "check", "libvirt-operations.jsonl")
NOISE = re.compile("ethtool ioctl|dnsmasq|DBus|udevGetDMI|cgroup controller")
UUID = "6d696e69-766d-4d20-8000-{:012x}"


class Refused(Exception):
    """virsh said no; the text is what it said."""


def versions(*names, **more):
    """A test with a row for each version of libvirt: its arguments are version and what is in more. Debian 12's is the
    choice of 'make check'; --every, or a pattern with the row's name, runs the others."""
    def mark(function):
        function.rows = {v: dict(more, version=v) for v in names or VERSIONS}
        function.chosen = frozenset(["9.0"])
        return function
    return mark


def root(t, version):
    """The root of that libvirt, fetched when the cache is without it; a test that cannot have it is skipped."""
    t.need("root", "kvm")
    done = subprocess.run([os.path.join(ROOT, "scripts/libvirt-root"), version], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        t.skip(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


# ---- what a domain is ----

def element(name, text="", **attributes):
    return f"<{name}" + "".join(f" {k}='{v}'" for k, v in attributes.items()) + (f">{text}</{name}>" if text else "/>")


def serial_xml(kind):
    if kind == "pty":
        return "<serial type='pty'><target type='isa-serial' port='0'/></serial>"
    mode = "<source mode='bind' path='/own/serial'/>" if kind == "unix" else "<source path='/own/serial.log'/>"
    return f"<serial type='{kind}'>{mode}<target type='isa-serial' port='0'/></serial>"


def disk_xml(path):
    form = "qcow2" if path.endswith(".qcow2") else "raw"
    return (f"<disk type='file' device='disk'><driver name='qemu' type='{form}'/><source file='{path}'/>"
            "<target dev='vda' bus='virtio'/><address type='virtio-mmio'/></disk>")


def domain(guest="idle", append="", *, name="mv", number=1, mib=32, cpus=1, disk=None, serial="unix", balloon=False,
           net=False, extra=()):
    """
    A microvm with a tiny guest: its kernel is /mv/GUEST.elf, its serial port /own/serial, a socket. extra: options
    for the emulator that libvirt has no words for.
    """
    devices = element("emulator", "/own/emulator") + serial_xml(serial)
    devices += disk_xml(disk) if disk else ""
    devices += ("<interface type='ethernet'><mac address='52:54:00:12:34:56'/><target dev='mvtap'/>"
                "<model type='virtio'/><address type='virtio-mmio'/></interface>") if net else ""
    devices += ("<memballoon model='virtio'><address type='virtio-mmio'/></memballoon>" if balloon else
                "<memballoon model='none'/>")
    devices += "<controller type='usb' model='none'/>"
    boot = (element("type", "hvm", arch="x86_64", machine="microvm") + element("kernel", f"/mv/{guest}.elf") +
            (element("cmdline", append) if append else ""))
    options = "".join(element("qemu:arg", value=e) for e in extra)
    return ("<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>" +
            element("name", name) + element("uuid", UUID.format(number)) + element("memory", str(mib), unit="MiB") +
            element("vcpu", str(cpus)) + element("os", boot) + "<features><acpi/></features>" +
            "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>" +
            "<on_reboot>restart</on_reboot>" + element("devices", devices) +
            (element("qemu:commandline", options) if options else "") + "</domain>")


# ---- a host ----

class Watcher:
    """The events of a host, as 'virsh event' prints them: a line each."""

    def __init__(self, process, reader):
        self.process, self.reader = process, reader
        self.lines, self.mark, self.closed = [], 0, False
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError):
            for line in self.reader:
                with self.changed:
                    self.lines.append(line.strip())
                    self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def find(self, pattern, seconds):
        """The next event that fits, or None; those before it have been passed over."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for i in range(self.mark, len(self.lines)):
                    if re.search(pattern, self.lines[i]):
                        self.mark = i + 1
                        return self.lines[i]
                left = deadline - time.monotonic()
                if left <= 0 or self.closed:
                    return None
                self.changed.wait(left)


class Host:
    """
    name      its host name
    version   of libvirt
    emulator  a kind of PROGRAMS, "minivmm" or "qemu": the latter is the QEMU of libvirt's own suite
    options   for libvirtd, and conf: lines for libvirtd.conf
    netns     the name of a network namespace of ip(8), else it has one of its own
    names     lines for its /etc/hosts
    quiet     its log is without what it and the emulator say to each other, which takes time
    """

    def __init__(self, t, name, version, emulator="minivmm", *, netns=None, options="", conf="", names="", quiet=False):
        self.t, self.name, self.version, self.emulator = t, name, version, emulator
        tree = root(t, version)
        self.shared = shared_directory(t)
        self.own = t.path(name)
        os.makedirs(self.own)
        self._write_emulator()
        self.watcher = None
        self.serials = []
        enter = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
        argv = [*enter, "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                *([] if netns else ["--net"]), "bash", HOST, name, tree, self.own, self.shared]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, LIBVIRTD_OPTIONS=options, LIBVIRTD_CONF=conf,
                                                 HOST_NAMES=names,
                                                 **({"LIBVIRTD_FILTERS": "3:qemu"} if quiet else {})))
        t._others.append(self)      # pylint: disable=protected-access
        answer = self.process.stdout.readline().strip()
        if answer != "ready":
            raise Closed(f"libvirtd of {name} did not start: {answer} {self.text('stdout')}\n"
                         f"{self.text('libvirtd.log')[-2000:]}")
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            self.first = int(f.read().split()[0])

    def _write_emulator(self):
        """minivmm with the libraries of the machine that built it, which may be another one's than the root's."""
        path = os.path.join(self.own, "emulator")
        if self.emulator == "qemu":
            os.symlink("/usr/bin/qemu-system-x86_64", path)
            return
        libs = os.path.join(self.own, "libs")
        os.makedirs(libs)
        program = PROGRAMS[self.emulator]["path"]
        shutil.copy(program, os.path.join(libs, "minivmm"))
        found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for lib in re.findall(r"(/\S+)", found):
            shutil.copy(lib, libs)
        with open(path, "w", encoding="ascii") as f:
            f.write('#!/bin/sh\nexec /own/libs/ld-linux-x86-64.so.2 --library-path /own/libs /own/libs/minivmm "$@"\n')
        os.chmod(path, 0o755)

    # ---- commands ----

    def inside(self, *command):
        """The command line that runs it in the host's namespaces and root."""
        return ["env", "-i", f"PATH={os.environ['PATH']}", "TERM=dumb", "nsenter", "-t", str(self.first), "-m", "-r", "-u",
                "-i", "-p", "-n", "--", "chroot", os.path.join(self.own, "root"), *command]

    @property
    def uri(self):
        return f"qemu:///system?socket=/mv/{self.name}/libvirt-sock"

    def virsh(self, *arguments):
        """Its output. Raises Refused with what it says when it fails."""
        done = subprocess.run(self.inside("virsh", "-q", "-c", self.uri, *map(str, arguments)), capture_output=True,
                              text=True, check=False, timeout=GUARD, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise Refused(f"virsh {' '.join(map(str, arguments))} on {self.name}: "
                          f"{(done.stderr + done.stdout).strip()}")
        return done.stdout.strip()

    def start_virsh(self, *arguments):
        """The same in the background."""
        return subprocess.Popen(self.inside("virsh", "-q", "-c", self.uri, *map(str, arguments)), text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def text(self, name):
        try:
            with open(os.path.join(self.own, name), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    # ---- domains ----

    def define(self, xml):
        """Defines a domain and watches the host's events from here on."""
        path = os.path.join(self.own, "domain.xml")
        with open(path, "w", encoding="ascii") as f:
            f.write(xml)
        for guest in re.findall(r"<kernel>/mv/(.*)\.elf</kernel>", xml):
            shutil.copy(guest_path(guest), os.path.join(self.shared, guest + ".elf"))
        self.virsh("define", "/own/domain.xml")
        self.watch()

    def watch(self):
        """'virsh event' does not say when it listens: an event of a domain of no use is asked for until one comes."""
        if self.watcher:
            return
        ours, theirs = os.openpty()
        process = subprocess.Popen(self.inside("virsh", "-q", "-c", self.uri, "event", "--loop", "--all"),
                                   stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.watcher = Watcher(process, os.fdopen(ours, encoding="utf-8", errors="replace"))
        with open(os.path.join(self.own, "ping.xml"), "w", encoding="ascii") as f:
            f.write(domain(name="ping", number=0x999))
        for _ in range(200):
            self.virsh("define", "/own/ping.xml")
            if self.watcher.find("'?ping'?: Defined", 0.1):
                break
        else:
            raise Hang(f"no event of {self.name}: {self.watcher.lines}")
        self.virsh("undefine", "ping")

    def event(self, pattern):
        """Waits for an event that fits and has not been waited for."""
        found = self.watcher.find(pattern, GUARD)
        if not found:
            raise Hang(f"no event {pattern!r} of {self.name}; there were: {self.watcher.lines[-20:]}")
        return found

    def state(self, name="mv"):
        return self.virsh("domstate", name)

    def serial(self):
        """The serial port of the domain that runs here, anew; what it has said before is lost."""
        self._leave_serial()    # the emulator takes one at a time
        path = os.path.join(self.own, "serial")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        self.serials = [sock]
        return Serial(sock)

    def _leave_serial(self):
        for sock in self.serials:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.serials = []

    def report(self, serial=None):
        """What the guest answers to 'r': a dict per line."""
        serial = serial or self.serial()
        serial.write("r")
        text = serial.expect(r"(?:^R [^\n]*=[^\n]*\n)+^R end\n").group(0)
        return [{k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)} for line in text.splitlines() if "=" in line]

    # ---- the end ----

    def explain(self):
        said = self.text("libvirtd.log")
        lines = [line[:400] for line in said.splitlines() if re.search(r" error :", line) and not NOISE.search(line)]
        print(f"---- libvirtd {self.version} of {self.name}, emulator {self.emulator}")
        print("\n".join(lines[-15:]))
        for name in self._domain_logs():
            print(f"-- {name}\n" + self.text(name)[-500:])
        kept = os.path.join(KEPT, f"{self.version}-{self.name}")
        os.makedirs(kept, exist_ok=True)
        for name in ["libvirtd.log", *self._domain_logs()]:
            if os.path.exists(os.path.join(self.own, name)):
                shutil.copy(os.path.join(self.own, name), kept)
        print(f"-- logs in {kept}")

    def _domain_logs(self):
        directory = "var/log/libvirt/qemu"
        path = os.path.join(self.own, directory)
        return sorted(os.path.join(directory, n) for n in os.listdir(path) if n.endswith(".log")) \
            if os.path.isdir(path) else []

    def close(self):
        self._leave_serial()
        if self.process.poll() is None:
            self.process.stdin.close()      # the first process ends, and with it all others of its namespace
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        self.process.stdout.close()
        if self.watcher:
            self.watcher.process.wait()


def shared_directory(t):
    path = t.path("mv")
    os.makedirs(path, exist_ok=True)
    return path


def qcow2(t, name="disk.qcow2", size="1M"):
    """An image in the shared directory: its path inside."""
    t.need("qemu-img")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", os.path.join(shared_directory(t), name), size], check=True,
                   timeout=GUARD)
    return "/mv/" + name


# ---- the table of operations ----

def note(host, names, result):
    if host.t.kind != "minivmm":
        return
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    with open(RESULTS, "a", encoding="utf-8") as f:
        for name in names:
            f.write(json.dumps({"version": host.version, "operation": name, "result": result}) + "\n")


@contextlib.contextmanager
def operation(host, *names):
    """What is done inside is these operations; they stand in the table as passed, or as failed with the reason."""
    result = "failed: interrupted"
    try:
        yield
        result = "passed"
    except BaseException as e:
        result = "failed: " + " ".join(str(e).split())[:300]
        raise
    finally:
        note(host, names, result)


@contextlib.contextmanager
def refused(host, name, text):
    """This libvirt refuses the operation by itself, with any emulator, and says so in these words."""
    try:
        yield
    except Refused as e:
        if text not in str(e):
            note(host, [name], "failed: " + str(e))
            raise
        note(host, [name], "refused by libvirt: " + text)
        return
    raise AssertionError(f"{name} is not refused any more: it is an operation now")


__all__ = ["Host", "Refused", "VERSIONS", "domain", "operation", "qcow2", "refused", "versions"]
