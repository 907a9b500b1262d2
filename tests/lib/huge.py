"""Huge pages of the host, for a test."""
import contextlib
import fcntl

POOL = "/proc/sys/vm/nr_hugepages"


@contextlib.contextmanager
def huge_pages(t, count):
    """So many more huge pages of 2 MiB than the host had before."""
    t.need("root")
    with open("/tmp/minivmm-test-hugepages", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)    # tests of this kind go one after the other

        def add(n):
            with open(POOL, encoding="ascii") as f:
                wanted = int(f.read()) + n
            with open(POOL, "w", encoding="ascii") as f:
                f.write(str(wanted))
            with open(POOL, encoding="ascii") as f:
                return int(f.read()) >= wanted

        if not add(count):
            add(-count)
            t.skip(f"the host has no {count} huge pages to spare")
        try:
            yield
        finally:
            for vm in list(t._machines):    # pylint: disable=protected-access
                t.forget(vm)
            add(-count)
