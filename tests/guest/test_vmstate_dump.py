"""-dump-vmstate: the state tables as JSON, in QEMU's form."""
import json
import subprocess

from case import only_minivmm
from qmp import GUARD
from vmm import PROGRAMS

MACHINE = ("-M", "microvm,acpi=on,ioapic2=off,pic=on,pit=on,rtc=on,isa-serial=on", "-accel", "kvm", "-cpu", "qemu64")
DEVICES = ("-device", "virtio-rng-device")


def dump(t, kind, *options):
    path = t.path(f"{kind}.json")
    done = subprocess.run([PROGRAMS[kind]["path"], *MACHINE, *options, "-display", "none", "-dump-vmstate", path],
                          capture_output=True, text=True, check=False, timeout=GUARD,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def check_table(table):
    """What the checker of state tables looks at is there."""
    assert isinstance(table["name"], str), table
    assert table["minimum_version_id"] <= table["version_id"], table
    for field in table.get("Fields", []):
        assert isinstance(field["field"], str) and isinstance(field["size"], int), field
        assert isinstance(field["version_id"], int) and isinstance(field["field_exists"], bool), field
        if "Description" in field:
            check_table(field["Description"])
    for sub in table.get("Subsections", []):
        assert sub["name"].startswith(table["name"]), sub
        check_table(sub)


@only_minivmm("QEMU is compared with")
def test_shape(t):
    t.need("kvm")
    ours = dump(t, "minivmm", *DEVICES)
    assert ours.pop("vmschkmachine") == {"Name": "microvm"}
    for name, section in ours.items():
        assert section["Name"] == name
        check_table(section["Description"])
    assert {"mc146818rtc", "isa-serial", "kvm-i8259", "virtio-rng-device"} <= set(ours), set(ours)
    said = subprocess.run([PROGRAMS["minivmm"]["path"], *MACHINE, "-dump-vmstate", "/nowhere/x"],
                          capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert said.returncode == 1 and "'/nowhere/x': No such file" in said.stderr, said


@only_minivmm("QEMU is compared with")
def test_same_as_qemu(t):
    """Every device that both have: the same table by name and version, fields of the same names and versions."""
    t.need("kvm", "qemu")
    theirs = dump(t, "qemu")
    ours = dump(t, "minivmm", *DEVICES)
    both = set(ours) & set(theirs) - {"vmschkmachine"}
    assert len(both) >= 8, both
    for name in both:
        a, b = ours[name], theirs[name]
        assert set(a) == set(b), name
        assert a["version_id"] == b["version_id"], name
        assert a["Description"]["name"] == b["Description"]["name"], name
    for name in ("mc146818rtc", "kvm-i8259"):
        fields = [[(f["field"], f["version_id"], f["size"]) for f in d[name]["Description"]["Fields"]]
                  for d in (ours, theirs)]
        assert fields[0] == fields[1], fields
