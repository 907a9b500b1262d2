"""Objects: -object, object-add and object-del, from one table of types (qmp-surface 5.4)."""
import base64
import json
import os
import subprocess

from case import only_minivmm, table
from vmm import PROGRAMS


def test_secrets(t):
    """In the forms that libvirt gives: by commas, as JSON, over QMP; deleted, and there again."""
    path = t.path("key,1")
    with open(path, "wb") as f:
        f.write(os.urandom(32))
    commas = path.replace(",", ",,")
    vm = t.vmm("idle", extra=["-object", f"secret,id=masterKey0,format=raw,file={commas}", "-object",
                              json.dumps({"qom-type": "secret", "id": "masterKey1", "format": "raw", "file": path})])
    os.unlink(path)
    text = base64.b64encode(b"passphrase").decode()
    vm.cmd("object-add", qom_type="secret", id="s", data=text, format="base64")
    says = "attempt to add duplicate property 's' to object (type 'container')"
    assert vm.qmp.fails("object-add", qom_type="secret", id="s", data="x") == says
    vm.cmd("object-del", id="s")
    vm.cmd("object-add", qom_type="secret", id="s", data="x")
    for name in ("masterKey0", "masterKey1", "s"):
        vm.cmd("object-del", id=name)
        assert vm.qmp.fails("object-del", id=name) == f"object '{name}' not found"


@only_minivmm("QEMU deletes it under the device")
def test_random(t):
    vm = t.vmm("idle", extra=["-object", "rng-builtin,id=r", "-device", "virtio-rng-device,rng=r"])
    assert vm.qmp.fails("object-del", id="r") == "object 'r' is in use, can not be deleted"
    vm.cmd("object-add", qom_type="rng-random", id="r2", filename="/dev/urandom")
    vm.cmd("object-add", qom_type="rng-builtin", id="r3")
    vm.cmd("object-del", id="r2")
    vm.cmd("object-del", id="r3")


@table(type={"given": {"qom_type": "zz", "id": "a"}, "says": "Parameter 'qom-type' does not accept value 'zz'"},
       no_type={"given": {"id": "a"}, "says": "Parameter 'qom-type' is missing"},
       no_id={"given": {"qom_type": "rng-builtin"}, "says": "Parameter 'id' is missing"},
       neither={"given": {"qom_type": "secret", "id": "a"}, "says": None})
def test_refused(t, given, says):
    vm = t.vmm("idle")
    got = vm.qmp.fails("object-add", **given)
    assert says is None or got == says, got


SECRET = {"qom_type": "secret", "id": "a"}


@only_minivmm("the words are ours")
@table(memory={"given": {"qom_type": "memory-backend-ram", "id": "a", "size": 4096},
               "says": "'memory-backend-ram': guest RAM is made at start; give it as -object"},
       iothread={"given": {"qom_type": "iothread", "id": "a"},
                 "says": "'iothread': queues have an I/O thread; leave iothread= out"},
       bad_id={"given": {"qom_type": "rng-builtin", "id": "1a"}, "says": "Parameter 'id' expects an identifier"},
       neither={"given": SECRET, "says": "Either 'file' or 'data' must be provided"},
       both={"given": {**SECRET, "file": "/x", "data": "x"}, "says": "'file' and 'data' are mutually exclusive"},
       no_file={"given": {**SECRET, "file": "/nope/x"}, "says": "Unable to read /nope/x: No such file or directory"},
       device={"given": {**SECRET, "file": "/dev/zero"}, "says": "/dev/zero: it is not a regular file"},
       base64={"given": {**SECRET, "data": "AB=C", "format": "base64"}, "says": "the secret is not valid base64"},
       format={"given": {**SECRET, "data": "x", "format": "zz"}, "says": "Parameter 'format' does not accept value 'zz'"},
       keyid={"given": {**SECRET, "data": "x", "keyid": "m"}, "says": "'keyid' is not supported: encrypted secrets"},
       unknown={"given": {**SECRET, "data": "x", "zz": 1}, "says": "Invalid parameter 'zz'"},
       random={"given": {"qom_type": "rng-random", "id": "a", "filename": "/nope/x"},
               "says": "Could not open '/nope/x': No such file or directory"})
def test_refused_with_reason(t, given, says):
    """Nothing is left of what was refused."""
    vm = t.vmm("idle")
    got = vm.qmp.fails("object-add", **given)
    assert says in got, got
    assert vm.qmp.fails("object-del", id="a") == "object 'a' not found"


@only_minivmm("the words are ours")
def test_memory_in_use(t):
    vm = t.vmm("idle", backend="memfd")
    assert vm.qmp.fails("object-del", id="microvm.ram") == "object 'microvm.ram' is in use, can not be deleted"


@only_minivmm("the words are ours")
@table(file={"given": "secret,id=a,file=/nope/x", "says": "Unable to read /nope/x: No such file or directory"},
       neither={"given": "secret,id=a", "says": "Either 'file' or 'data' must be provided"},
       iv={"given": "secret,id=a,data=x,iv=y", "says": "'iv' is not supported: encrypted secrets are not offered"})
def test_refused_at_start(t, given, says):
    t.need("kvm", "minivmm")
    done = subprocess.run([PROGRAMS["minivmm"]["path"], "-nodefaults", "-S", "-object", given], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 1 and f"-object {given}: " in done.stderr and says in done.stderr, done
