"""A pair of machines and the harms between them: what the tests of tests/fault do alike."""
import os
import random
import select
import time

import stream
from moves import destination, goes_on, machine, wait_end_or_failure
from proxy import BACKWARD, FORWARD, Harm
from qmp import GUARD, Hang

# Small, so that a round takes a fraction of a second: 18 MiB, 20 stamped pages, a disk at work.
SMALL = {"guest": "smp-counter", "append": "pages=20 rate=500 start=17M every=8", "memory": "18M"}
MULTIFD_INIT, MULTIFD_HEADER = 64, 1344
QUIET_S = 3     # nothing passes for so long: both ends wait, and a user would cancel


class Pair:
    """A source that must outlive every fault, and one destination after the other."""

    def __init__(self, t, multifd=None):
        self.t, self.multifd = t, multifd       # the method of compression; None: one connection
        self.vm = self.source()
        self.rounds = 0

    def source(self):
        options = dict(SMALL)
        vm = machine(self.t, options.pop("guest"), options.pop("append"), disk=self.t.disk(), rng=True,
                     **options)
        self._set_up(vm)
        return vm

    def _set_up(self, vm):
        vm.capabilities("return-path", *(["multifd"] if self.multifd else []))
        if self.multifd:
            vm.cmd("migrate-set-parameters", multifd_channels=2, multifd_compression=self.multifd)

    def listen(self):
        self.rounds += 1
        self.path = self.t.path(f"in{self.rounds}")
        vm = destination(self.t, self.vm)
        self._set_up(vm)
        vm.cmd("migrate-incoming", uri=f"unix:{self.path}")
        return vm

    def migrate(self, proxy):
        self.vm.qmp.events.clear()
        self.vm.cmd("migrate", uri=f"unix:{proxy.path}")

    def record(self):
        """One undisturbed move: the links, with the bytes of both directions."""
        dest = self.listen()
        proxy = self.t.proxy(self.path, keep=True)
        self.migrate(proxy)
        assert self.vm.wait_migration("completed", "failed") == "completed", self.vm.migration()
        self.takes_over(dest)
        return proxy.links

    def takes_over(self, dest):
        assert dest.wait_migration("completed", "failed") == "completed", dest.stderr()
        dest.wait_running()
        self.t.forget(self.vm)
        self.vm = dest
        goes_on(self.vm)

    def survive(self, make_harm):
        """One move with a fault; afterwards exactly one guest runs."""
        dest = self.listen()
        harm = make_harm(dest)
        self.migrate(self.t.proxy(self.path, harm))
        dest_says = wait_end_or_failure(dest)
        try:
            if dest_says == "completed":
                self.gone(harm, dest)
            else:
                self.stays(harm, dest, dest_says)
        except (AssertionError, Hang) as e:
            raise AssertionError(
                f"{harm}: {e}\nsource: {self.vm.status()} {self.vm.migration()}\n"
                f"destination: {dest_says}\n{dest.stderr()}") from e

    def gone(self, harm, dest):
        """The destination runs: the source must not, and must not later."""
        if not harm.in_hand_over:       # else it may never learn, and waits
            self.vm.wait_migration("completed", "failed")
        assert self.vm.status() != "running", "two guests run"
        self.takes_over(dest)

    def stays(self, harm, dest, dest_says):
        """The destination does not run: the source does, and both say why."""
        source = self.vm
        if dest_says == "dead":
            harmless = harm.what == "call" or "load of migration failed" in dest.stderr()
            assert harmless, "the destination died without a cause"
        else:
            assert dest.status() == "inmigrate", dest.status()
        if harm.in_hand_over:           # the source cannot know before the other one has ended
            dest.kill()
        says = source.wait_migration("completed", "failed")
        assert says == "failed", "the source gave up its guest without a destination"
        assert harm.done.is_set(), "it failed without the fault"
        told = source.migration().get("error-desc") or source.kind == "qemu"
        assert told, "the source does not say why"
        while source.status() == "finish-migrate":
            pass
        goes_on(source)
        self.t.forget(dest)

    def disordered(self, harm):
        """One move whose bytes come in another order: taken or refused, and then one guest is left.

        What the format cannot see arrives: pages that changed places, or went twice. So what a
        destination that has taken it runs is not promised, and the next move gets a new pair.
        Bytes that never come (a length that is now larger) leave both ends waiting, as behind a
        connection that stands still, until a user cancels.
        """
        dest, source = self.listen(), self.vm
        proxy = self.t.proxy(self.path, harm)
        self.migrate(proxy)
        says = self._ends(dest, proxy)
        ended = source.wait_migration("completed", "failed", "cancelled")
        story = f"{harm}: source {ended}, {source.status()}, {source.migration()}; destination {says}"
        assert says != "dead", story + dest.stderr()
        if says == "completed":
            assert source.status() == "postmigrate", story
            self.t.forget(source)
            self.t.forget(dest)
            self.vm = self.source()
            return says
        assert dest.status() == "inmigrate", story
        assert ended == "cancelled" or source.migration()["error-desc"], story
        if source.status() != "running":
            source.qmp.event("RESUME")
        goes_on(source)
        self.t.forget(dest)
        return ended

    def _ends(self, dest, proxy):
        deadline, cancelled = time.monotonic() + GUARD, False
        poll = select.poll()
        poll.register(dest.qmp.sock, select.POLLIN)
        while True:
            info = dest.migration()
            if info.get("status") in ("completed", "failed"):
                return info.get("error-desc", info["status"])
            now = time.monotonic()
            if now > deadline:
                raise Hang(f"{proxy.harm}: source {self.vm.migration()}, destination {info}")
            if not cancelled and proxy.links and now > proxy.moved + QUIET_S:
                self.vm.cmd("migrate_cancel")
                cancelled = True
            poll.poll(50)       # the next event, or have another look


class Recording:
    """An undisturbed move, and the places in it where the next one can be harmed.

    RAM takes more or fewer bytes each time, so a place among the device sections is found again by
    the header of its section.
    """

    def __init__(self, pair):
        self.links = [(bytes(link.kept[FORWARD]), bytes(link.kept[BACKWARD])) for link in pair.record()]
        self.forward, self.backward = self.links[0]
        self.parsed = stream.Stream(self.forward)
        self.devices = [r for r in self.parsed.records if r.tag == stream.TAG_FULL]
        self.ram_end = self.devices[0].start
        description = self.parsed.description_start
        # the end of the state; between two minivmms the hand-over follows
        self.told = description + 5 + int.from_bytes(
            self.forward[description + 1:description + 5], "big")
        # QEMU 7.2 starts the guest when it has read the EOF mark: behind it a cut leaves two guests
        self.end = len(self.forward) if pair.t.kind == "minivmm" else self.parsed.description_start

    def harm(self, what, offset, **more):
        """The harm at what was byte 'offset' in the recording."""
        # A destination answers when it has read EOF; what is lost then may leave the source in doubt.
        late = offset >= self.parsed.description_start
        for r in reversed(self.devices):
            if offset >= r.start:
                more["after"] = self.forward[r.start:r.payload_start]
                offset -= r.start
                break
        harm = Harm(what, offset, **more)
        harm.in_hand_over = late
        return harm

    def messages(self):
        """Every message among the devices, the first ones, and some pages."""
        early = [r for r in self.parsed.records if r.start < self.ram_end]
        points = {0, 4, 8} | {r.end for r in early[:4]} | {r.start for r in early[:4]}
        pages = [p for p in self.parsed.page_offsets if p < self.ram_end * 2 // 3]
        points |= set(pages[:: max(1, len(pages) // 6)])
        for r in self.devices:
            points |= {r.start, r.payload_start, r.end - 5, r.end}
        points |= {self.parsed.description_start, self.parsed.description_start + 1,
                   self.parsed.description_start + 5, self.told}
        points |= set(range(self.told, len(self.forward) + 1))
        return [p for p in sorted(points) if p < self.end]

    def anywhere(self, pick, count):
        """Random places, half of them in RAM, half behind it."""
        for n in range(count):
            low, high = (0, self.ram_end * 2 // 3) if n % 2 else (self.ram_end, self.end)
            yield pick.randrange(low, high)

    def packets(self, link):
        """Where the packets of a multifd channel begin, and where the last one ends."""
        data, points = self.links[link][0], [0, MULTIFD_INIT]
        while points[-1] < len(data):
            header = data[points[-1]:points[-1] + MULTIFD_HEADER]
            pages, size = (int.from_bytes(header[at:at + 4], "big") for at in (16, 20))
            points.append(points[-1] + MULTIFD_HEADER + (size if pages else 0))
        return points


def seeded():
    """A random choice that can be had again: the seed is printed, TEST_SEED sets it."""
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"TEST_SEED={seed}", flush=True)
    return random.Random(seed)
