"""How long a guest waits for its pages in postcopy, as query-migrate of the destination tells."""
import postcopy
from case import table

CPUS = 2
ALWAYS = {"postcopy-latency", "postcopy-latency-dist"}
BLOCKTIME = {"postcopy-blocktime", "postcopy-vcpu-blocktime"}
DETAILS = {"postcopy-vcpu-latency", "postcopy-non-vcpu-latency"}


def moved(t, there, mode=()):
    """Both ends of a move in which the guest waited for pages."""
    source = postcopy.start(t, capabilities=mode, cpus=CPUS)
    dest = postcopy.there(t, source, (*mode, *there))
    postcopy.begin(t, source, dest)
    assert not set(dest.migration()) & (ALWAYS | BLOCKTIME | DETAILS), dest.migration()
    postcopy.switch(source, dest)
    dest.wait_running()
    while source.migration()["status"] == "postcopy-active" and postcopy.requests(source) < 100:
        pass
    postcopy.finish(source, dest)
    postcopy.runs_on(dest, CPUS)
    return source, dest


@table(plain={"mode": ()}, preempt={"mode": ("postcopy-preempt",)})
def test_blocktime(t, mode):
    """Each vCPU has waited; that all of them did at once is no more than what any of them did."""
    source, dest = moved(t, ("postcopy-blocktime",), mode)
    now = dest.migration()
    assert BLOCKTIME <= set(now), now
    each = now["postcopy-vcpu-blocktime"]
    assert len(each) == CPUS, now
    assert postcopy.requests(source) > 0, source.migration()
    if t.kind == "qemu":        # 7.2 has no more, and may tell more time of all vCPUs than of any
        return
    assert now["postcopy-blocktime"] <= min(each), now
    dist = now["postcopy-latency-dist"]
    assert len(dist) == 24 and sum(dist) > 0, now
    assert len(now["postcopy-vcpu-latency"]) == CPUS and all(now["postcopy-vcpu-latency"]), now
    assert now["postcopy-latency"] > 0 and now["postcopy-non-vcpu-latency"] >= 0, now
    mean = now["postcopy-latency"]
    top = max(i for i, n in enumerate(dist) if n)
    assert mean < (2 << top) * 1000, now
    assert any(each), now


def test_without_blocktime(t):
    """How latencies are distributed is told always, the rest with the capability."""
    _, dest = moved(t, ())
    now = dest.migration()
    assert not set(now) & (BLOCKTIME | DETAILS), now
    assert t.kind == "qemu" or sum(now["postcopy-latency-dist"]) > 0, now
