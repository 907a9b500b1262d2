"""A processor model is the same one under both programs: the guest sees the same CPUID."""
import os
import subprocess

import peers
from case import table
from vmm import ROOT


def leaves(t, kind, model, cpus):
    vm = t.vmm("cpuid", kind=kind, cpus=cpus, extra=["-cpu", model])
    vm.serial.expect("cpuid end")
    return [line for line in vm.serial.all().splitlines() if line.startswith("cpuid ")]


# Models with arch-capabilities are not here: QEMU ends where KVM refuses MSR 0x10a, as on an emulating host.
@table(qemu64={"model": "qemu64"},
       qemu64_two={"model": "qemu64", "cpus": 2},
       qemu64_three={"model": "qemu64", "cpus": 3},
       qemu64_no_kvm={"model": "qemu64,kvm=off"},
       qemu64_changed={"model": "qemu64,-x2apic,+popcnt,-kvmclock,+tsc-deadline,hypervisor=off"},
       qemu64_invariant_tsc={"model": "qemu64,+invtsc"},
       kvm64={"model": "kvm64"},
       nehalem={"model": "Nehalem-v2"},
       sandy_bridge={"model": "SandyBridge-v1"},
       haswell={"model": "Haswell-v4", "cpus": 2},
       skylake={"model": "Skylake-Server-v5"},
       broadwell={"model": "Broadwell-v4"},
       opteron={"model": "Opteron_G5"},
       epyc={"model": "EPYC-v1", "cpus": 2},
       epyc_ibpb={"model": "EPYC-IBPB"},
       epyc_rome={"model": "EPYC-Rome-v2"},
       epyc_milan={"model": "EPYC-Milan-v1", "cpus": 4},
       epyc_intel={"model": "EPYC-v2,vendor=GenuineIntel", "cpus": 2},
       kvm64_intel_caches={"model": "kvm64,vendor=GenuineIntel", "cpus": 2})
def test_same_cpuid(t, model, cpus=1):
    t.need("qemu", t.kind)
    ours, theirs = (leaves(t, kind, model, cpus) for kind in (t.kind, "qemu"))
    assert ours == theirs, "\n".join(
        [f"only {t.kind}: {line}" for line in ours if line not in theirs] +
        [f"only qemu: {line}" for line in theirs if line not in ours])


@table(**{version: {"version": version} for version in ("7.2", "10.0", "11.1")})
def test_table(t, version):
    """The table of models is what that QEMU says of those that both have."""
    t.need("kvm")
    path, why = peers.qemu(version)
    if why:
        t.skip(why)
    done = subprocess.run([os.path.join(ROOT, "scripts/cpu-models"), "--check", path], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
