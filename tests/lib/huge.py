"""Huge pages of the host, for a test."""
import contextlib
import fcntl
import os

POOL = "/proc/sys/vm/nr_hugepages"
GIB_POOL = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"


@contextlib.contextmanager
def huge_pages(t, count, pool=POOL, name="huge pages"):
    """So many more huge pages than the host had before, of 2 MiB or of another pool."""
    t.need("root")
    if not os.path.exists(pool):
        t.skip(f"the host has no {name}")
    with open("/tmp/minivmm-test-hugepages", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)    # tests of this kind go one after the other

        def size():
            with open(pool, encoding="ascii") as f:
                return int(f.read())

        def resize(n):
            with open(pool, "w", encoding="ascii") as f:
                f.write(str(n))

        before = size()
        resize(before + count)
        if size() < before + count:
            resize(before)
            t.skip(f"the host has no {count} {name} to spare")
        try:
            yield
        finally:
            for vm in list(t._machines):    # pylint: disable=protected-access
                t.forget(vm)
            resize(before)
