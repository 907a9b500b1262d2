"""Commands of every kind beside snapshots, in any order and without waiting: what is done is whole, what is not is refused."""
import snapshots
from case import only_minivmm
from faults import seeded
from moves import goes_on
from qmp import QmpError
from snapshots import do, guest, image

COMMANDS = 150
TAGS = ("a", "b", "c")


def jobs_step(vm, rng):
    """Dismisses what has ended; does something with what has not."""
    for job in vm.cmd("query-jobs"):
        verb = "job-dismiss" if job["status"] == "concluded" else rng.choice(("job-cancel", "job-pause", "job-resume", "job-resume"))
        asked(vm, verb, id=job["id"])


def asked(vm, command, **arguments):
    """A command that may be refused, in words."""
    try:
        vm.cmd(command, **arguments)
    except QmpError as e:
        assert e.desc, command


def step(vm, rng, number, scratch):
    nodes = rng.choice((["d0", "d1"], ["d0", "d1"], ["d0"], ["d1"]))
    tag = rng.choice(TAGS)
    kind = rng.randrange(16)
    if kind < 9:
        what = ("save", "load", "delete")[kind // 3] if kind < 8 else "save"
        more = {"vmstate": nodes[0]} if what != "delete" else {}
        if what == "save" and rng.random() < 0.2:
            more["x-minivmm-stopped"] = True
        asked(vm, f"snapshot-{what}", job_id=f"j{number}", tag=tag, devices=nodes, **more)
    elif kind < 11:
        jobs_step(vm, rng)
    elif kind < 13:
        asked(vm, rng.choice(("stop", "cont", "cont")))
    elif kind == 13:
        asked(vm, "human-monitor-command", **{"command-line": rng.choice((f"savevm {tag}", f"loadvm {tag}", f"delvm {tag}",
                                                                          "info snapshots"))})
    elif kind == 14:
        asked(vm, rng.choice(("query-blockstats", "query-named-block-nodes", "query-migrate")))
    else:
        asked(vm, "pmemsave", val=0, size=1 << 20, filename=scratch)


def settle(vm):
    """No job is under way, and all memory is there."""
    for job in vm.cmd("query-jobs"):
        if job["status"] != "concluded":
            asked(vm, "job-resume", id=job["id"])
    while any(job["status"] != "concluded" for job in vm.cmd("query-jobs")):
        pass
    for job in vm.cmd("query-jobs"):
        vm.cmd("job-dismiss", id=job["id"])
    snapshots.resident(vm)


@only_minivmm("QEMU's jobs end within the command")
def test_storm(t):
    """Then the guest works on, a snapshot of it is whole, and so are the images."""
    rng = seeded()
    vm = guest(t, {"d0": image(t, "d0"), "d1": image(t, "d1", 128, "-o", "cluster_size=4k")},
               append="pages=600 rate=8000 every=16", backend="memfd")
    goes_on(vm)
    do(vm, "save", "sure")
    for number in range(COMMANDS):
        step(vm, rng, number, t.path("scratch"))
    settle(vm)
    do(vm, "load", "sure")      # whatever the storm has left of the guest
    asked(vm, "cont")
    goes_on(vm)
    do(vm, "save", "last")
    goes_on(vm)
    vm.cmd("stop")
    do(vm, "load", "last")
    snapshots.check_instant(t, vm, "last")
    vm.cmd("quit")
    vm.wait()
    for path in vm.images.values():
        snapshots.check(path)
