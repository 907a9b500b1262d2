"""What libvirt 9.0, 11.3 and 12.9 do with an emulator before a domain is there, and when it starts: their words, played again.

Each list is what was seen to be asked, in that order; a class of error in the place of "ok" is what they go on with.
"""
import os
import signal
import socket
import subprocess

from case import only_minivmm, table
from program import argv, connect, start
from qmp import Qmp, QmpError
from vmm import PROGRAMS, guest_path

OURS = "the answers are compared with what libvirt needs"
ABSENT = """virtio-blk-pci virtio-net-pci virtio-scsi-pci virtio-net-ccw virtio-scsi-ccw vfio-pci scsi-hd ide-hd PIIX4_PM
usb-redir usb-storage kvm-pit VGA vmware-svga virtio-gpu-pci virtio-gpu-device ICH9-LPC virtio-balloon-pci
virtio-balloon-ccw intel-iommu mch nvdimm pcie-root-port usb-host vhost-user-fs-device virtio-mem-pci
virtio-iommu-pci""".split()
TYPES = ["memory-backend-file", "memory-backend-memfd", "max-x86_64-cpu", "none-machine"]

PROBES = {
    "9.0": {"accel": "kvm:tcg", "first": ["query-commands", "query-kvm"], "absent": ["qxl"], "types": TYPES,
            "last": ["query-tpm-models", "query-command-line-options", "query-migrate-capabilities"]},
    "11.3": {"accel": "kvm:tcg", "first": ["query-kvm"], "absent": ["qxl"], "types": [*TYPES, "generic-pc-machine"],
             "last": ["query-tpm-models", "query-command-line-options", "query-migrate-capabilities"]},
    "12.9": {"accel": "kvm:mshv:tcg", "first": ["query-accelerators"],
             "absent": ["amd-iommu", "scsi-block", "scsi-generic"], "types": [*TYPES, "generic-pc-machine"],
             "last": ["query-command-line-options"]},
}


def refusal(qmp, command, **arguments):
    try:
        qmp.cmd(command, **arguments)
    except QmpError as e:
        return e.cls
    return "ok"


def probe(t, accel):
    """Started as libvirt does it: when the parent has ended the socket listens and the pid file is there."""
    t.need("kvm")
    pid_file = t.path("pid")
    subprocess.run([PROGRAMS["minivmm"]["path"], "-S", "-no-user-config", "-nodefaults", "-nographic",
                    "-machine", f"none,accel={accel}", "-qmp", f"unix:{t.path('qmp')},server=on,wait=off",
                    "-pidfile", pid_file, "-daemonize"], check=True, stdin=subprocess.DEVNULL)
    with open(pid_file, encoding="ascii") as f:
        pid = int(f.read())
    return Qmp.connect(t.path("qmp")), pid


@table(**{version: {"version": version} for version in PROBES})
@only_minivmm(OURS)
def test_probe(t, version):
    row = PROBES[version]
    qmp, pid = probe(t, row["accel"])
    try:
        assert qmp.cmd("query-version")["qemu"]["major"] >= 7 and qmp.cmd("query-target") == {"arch": "x86_64"}
        schema = qmp.cmd("query-qmp-schema")
        assert len({x["name"] for x in schema}) == len(schema), "a name is there twice"
        commands = {x["name"] for x in schema if x["meta-type"] == "command"}
        assert commands == {c["name"] for c in qmp.cmd("query-commands")}
        for command in row["first"]:
            qmp.cmd(command)
        types = {x["name"] for x in qmp.cmd("qom-list-types")}
        assert {"virtio-mmio", "isa-serial", "virtio-blk-device", "virtio-net-device"} <= types
        assert "tcg-accel" not in types, "it would be started once more for TCG"
        for name in ABSENT + row["absent"]:
            assert refusal(qmp, "device-list-properties", typename=name) == "DeviceNotFound", name
        assert qmp.cmd("device-list-properties", typename="virtio-balloon-device")
        for name in row["types"]:
            assert qmp.cmd("qom-list-properties", typename=name), name
        machines = {m["name"]: m for m in qmp.cmd("query-machines")}
        assert machines["microvm"]["default-ram-id"] == "microvm.ram" and machines["microvm"]["acpi"]
        qmp.cmd("query-cpu-definitions")
        for command in row["last"]:
            assert refusal(qmp, command) in ("ok", "CommandNotFound"), command
        listed = {o["option"] for o in qmp.cmd("query-command-line-options")}
        assert "sandbox" not in listed and {"machine", "smp-opts", "boot-opts", "msg", "overcommit"} <= listed
        assert "switchover-ack" not in {c["capability"] for c in qmp.cmd("query-migrate-capabilities")}
        for model in ({"name": "host"}, {"name": "host", "props": {"migratable": False}}):
            props = qmp.cmd("query-cpu-model-expansion", type="static", model=model)["model"]["props"]
            assert props["fpu"] is True and props["family"] > 0 and len(props["vendor"]) == 12, props
        hyperv = {"name": "host", "props": {"migratable": False, "hv-passthrough": True}}
        assert refusal(qmp, "query-cpu-model-expansion", type="full", model=hyperv) == "GenericError"
        # all that a client might try where there is no guest: an answer, not an end
        for command in commands - {"quit", "qmp_capabilities"}:
            refusal(qmp, command)
        for command, arguments in (("cont", {}), ("system_reset", {}), ("migrate", {"uri": "exec:cat >/dev/null"}),
                                   ("pmemsave", {"val": 0, "size": 1, "filename": t.path("mem")}),
                                   ("calc-dirty-rate", {"calc-time": 1}),
                                   ("snapshot-save", {"job-id": "j", "tag": "t", "vmstate": "x", "devices": []}),
                                   ("human-monitor-command", {"command-line": "savevm x"})):
            assert refusal(qmp, command, **arguments) == "GenericError", command
        assert qmp.cmd("query-status") == {"status": "prelaunch", "singlestep": False, "running": False}
        assert qmp.cmd("query-cpus-fast") == []
    finally:
        os.kill(pid, signal.SIGTERM)
    qmp.event("SHUTDOWN")
    assert qmp.sock.recv(1) == b"", "it ends by itself when it is told to"


def domain(version, disk, monitor_fd, serial_fd, key):
    """The arguments that libvirt starts this domain with."""
    late = version != "9.0"
    memory = '{"qom-type":"memory-backend-ram","id":"microvm.ram","size":33554432}'
    secret = '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"%s"}' % key
    if version == "9.0":
        memory, secret = "memory-backend-ram,id=microvm.ram,size=33554432", f"secret,id=masterKey0,format=raw,file={key}"
    file = '{"driver":"file","filename":"%s","node-name":"libvirt-1-storage","auto-read-only":true,"discard":"unmap"}'
    node = '{"node-name":"libvirt-1-format","read-only":false,"driver":"raw","file":"libvirt-1-storage"}'
    return ["-name", "guest=mv,debug-threads=on", "-S", "-object", secret, "-machine",
            "microvm,usb=off,dump-guest-core=off,memory-backend=microvm.ram" + (",acpi=on" if late else ""),
            "-accel", "kvm", "-cpu", "qemu64", "-m", "size=32768k" if late else "32", "-object", memory,
            "-overcommit", "mem-lock=off", "-smp", "1,sockets=1,cores=1,threads=1",
            "-uuid", "0a0a0a0a-1111-2222-3333-444444444444", "-display", "none", "-no-user-config", "-nodefaults",
            "-chardev", f"socket,id=charmonitor,fd={monitor_fd},server=on,wait=off",
            "-mon", "chardev=charmonitor,id=monitor,mode=control", "-rtc", "base=utc", "-no-shutdown",
            "-boot", "strict=on", "-kernel", guest_path("idle"), "-blockdev", file % disk, "-blockdev", node,
            "-device", '{"driver":"virtio-blk-device","drive":"libvirt-1-format","id":"virtio-disk0","bootindex":1}'
            if late else "virtio-blk-device,drive=libvirt-1-format,id=virtio-disk0,bootindex=1",
            "-add-fd", f"set=0,fd={serial_fd},opaque=serial0-source",
            "-chardev", "file,id=charserial0,path=/dev/fdset/0,append=on",
            "-device", '{"driver":"isa-serial","chardev":"charserial0","id":"serial0","index":0}'
            if late else "isa-serial,chardev=charserial0,id=serial0,index=0",
            "-audiodev", '{"id":"audio1","driver":"none"}', "-msg", "timestamp=on"]


@table(**{version: {"version": version} for version in PROBES})
@only_minivmm(OURS)
def test_start(t, version):
    """A domain's command line, the monitor on a socket that libvirt listens at, and its questions until the guest runs."""
    disk, key, log = t.path("disk"), t.path("key"), t.path("serial.log")
    for path, data in ((disk, bytes(1 << 20)), (key, bytes(32))):
        with open(path, "wb") as f:
            f.write(data)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(t.path("qmp"))
    listening.listen(1)
    serial = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    process = start(t, [argv()[0], *domain(version, disk, listening.fileno(), serial, key)],
                    pass_fds=[listening.fileno(), serial])
    listening.close()
    os.close(serial)
    qmp = connect(t.path("qmp"), process)
    listed = {c["capability"] for c in qmp.cmd("query-migrate-capabilities")}
    assert "events" in listed
    qmp.cmd("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    assert {c["label"] for c in qmp.cmd("query-chardev")} == {"charmonitor", "charserial0"}
    path = qmp.cmd("query-cpus-fast")[0]["qom-path"]
    if version == "12.9":
        [cpu] = qmp.cmd("qom-list-get", paths=[path])
        on = {p["name"] for p in cpu["properties"] if p["value"] is True}
    else:
        on = {p["name"] for p in qmp.cmd("qom-list", path=path)
              if p["type"] == "bool" and qmp.cmd("qom-get", path=path, property=p["name"])}
    assert {"fpu", "sse2", "hypervisor"} <= on and "svm" not in on, on
    assert qmp.cmd("query-iothreads") == []
    nodes = {n["node-name"] for n in qmp.cmd("query-named-block-nodes", flat=True)}
    assert {"libvirt-1-format", "libvirt-1-storage"} <= nodes, nodes
    qmp.cmd("set-action", reboot="shutdown", **({"panic": "pause"} if version == "12.9" else {}))
    devices = {p["name"]: p["type"] for p in qmp.cmd("qom-list", path="/machine/peripheral")}
    assert devices["virtio-disk0"] == "child<virtio-blk-device>", devices
    assert [d["qdev"] for d in qmp.cmd("query-block")] == ["/machine/peripheral/virtio-disk0/virtio-backend"]
    qmp.cmd("cont")
    qmp.event("RESUME")
    qmp.cmd("system_powerdown")
    qmp.event("POWERDOWN")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0, process.stderr.read()
