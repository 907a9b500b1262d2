"""A processor model is the same one under both programs: the guest sees the same CPUID."""
from case import table


def leaves(t, kind, model, cpus):
    vm = t.vmm("cpuid", kind=kind, cpus=cpus, extra=["-cpu", model])
    vm.serial.expect("cpuid end")
    return [line for line in vm.serial.all().splitlines() if line.startswith("cpuid ")]


@table(qemu64={"model": "qemu64"},
       qemu64_two={"model": "qemu64", "cpus": 2},
       qemu64_three={"model": "qemu64", "cpus": 3},
       qemu64_no_kvm={"model": "qemu64,kvm=off"},
       qemu64_changed={"model": "qemu64,-x2apic,+popcnt,-kvmclock,+tsc-deadline,hypervisor=off"},
       qemu64_invariant_tsc={"model": "qemu64,+invtsc"},
       kvm64={"model": "kvm64"},
       kvm64_intel_caches={"model": "kvm64,vendor=GenuineIntel", "cpus": 2})
def test_same_cpuid(t, model, cpus=1):
    t.need("qemu", t.kind)
    ours, theirs = (leaves(t, kind, model, cpus) for kind in (t.kind, "qemu"))
    assert ours == theirs, "\n".join(
        [f"only {t.kind}: {line}" for line in ours if line not in theirs] +
        [f"only qemu: {line}" for line in theirs if line not in ours])
