"""What this host's KVM can do, asked of the kernel itself."""
import fcntl
import os
import struct

KVM_CREATE_VM, KVM_CREATE_VCPU = 0xAE01, 0xAE41
KVM_GET_MSRS, KVM_SET_MSRS = 0xC008AE88, 0x4008AE89
TSC = 0x10
FAR = 1 << 42           # ticks: more than KVM takes for an attempt to put two vCPUs in step


def msrs(value=0):
    return bytearray(struct.pack("<IIIIQ", 1, 0, TSC, 0, value))


def takes_tsc():
    """A vCPU's TSC is what it has been set to. Some KVMs accept the value, and give the host's to the guest."""
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    vm = vcpu = -1
    try:
        vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
        vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
        before, after = msrs(), msrs()
        fcntl.ioctl(vcpu, KVM_GET_MSRS, before)
        was = struct.unpack_from("<Q", before, 16)[0]
        fcntl.ioctl(vcpu, KVM_SET_MSRS, msrs(was + FAR))
        fcntl.ioctl(vcpu, KVM_GET_MSRS, after)
        return struct.unpack_from("<Q", after, 16)[0] - was >= FAR
    finally:
        for fd in (vcpu, vm, kvm):
            if fd >= 0:
                os.close(fd)
