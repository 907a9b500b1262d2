"""Moves between hosts that are not alike: another libvirt, or QEMU as the emulator of one of them."""
from case import table
from libvirt import operation, versions
from libvirt_moves import arrived, command, two_hosts

# What QEMU makes of -M microvm by itself, in words that both programs take: libvirt has none for it.
STOCK = ("-machine", "ioapic2=on,rtc=off,kernel_irqchip=split", "-global", "virtio-mmio.force-legacy=true")


def there_and_back(here, there, *options):
    before = here.report(here.serial())[0]
    for source, dest in ((here, there), (there, here)):
        source.virsh(*command(source, dest, *options))
        before = arrived(source, dest, before)


@versions()
def test_qemu(t, version):
    """A guest that was started by this libvirt's QEMU goes to minivmm, and back."""
    beta, alpha = two_hosts(t, version, kinds=("qemu", "minivmm"), extra=STOCK)
    with operation(alpha, "migrate --live --p2p (from QEMU, and back)"):
        there_and_back(beta, alpha)


def mark(function):
    """Rows of pairs are no choice of 'make check'."""
    function.chosen = frozenset()
    return function


@mark
@table(**{"11.3 12.9": {"version": "11.3", "other": "12.9"}, "12.9 11.3": {"version": "12.9", "other": "11.3"}})
def test_versions(t, version, other):
    """From one libvirt to another one, and back."""
    alpha, beta = two_hosts(t, version, other)
    with operation(alpha, f"migrate --live --p2p (to libvirt {other}, and back)"):
        there_and_back(alpha, beta)
