"""With TLS: the connection breaks, or the destination dies, in each phase; one guest is left, and the cause is told."""
import random

import tls
from case import only_minivmm, table
from faults import SMALL, Pair
from moves import destination, machine
from proxy import BACKWARD, FORWARD, Harm

HANDSHAKE = (1, 200, 700)   # bytes of either direction
SET_UP = (1500, 3000)


class TlsPair(Pair):
    """Each machine has both credentials, for a destination is the next source."""

    def __init__(self, t, multifd=None):
        self.ends = tls.Ends(t.tmp)
        self.options = tuple(word for end in ("server", "client")
                             for word in tls.creds("x509", end, self.ends.folders[end], name=end))
        super().__init__(t, multifd)

    def source(self):
        options = dict(SMALL)
        vm = machine(self.t, options.pop("guest"), options.pop("append"), disk=self.t.disk(), rng=True,
                     extra=self.options, **options)
        self._set_up(vm)
        return vm

    def listen(self):
        self.rounds += 1
        self.path = self.t.path(f"in{self.rounds}")
        vm = destination(self.t, self.vm)
        self._set_up(vm)
        tls.use(vm, "server")
        vm.cmd("migrate-incoming", uri=f"unix:{self.path}")
        return vm

    def migrate(self, proxy):
        tls.use(self.vm, "client", **{"tls-hostname": tls.HOST})
        super().migrate(proxy)


def harm(what, offset, direction=FORWARD, call=None):
    h = Harm(what, offset, direction, call=call)
    h.in_hand_over = False
    return h


@only_minivmm("QEMU's source waits for ever in a handshake")
@table(one={"multifd": None}, multifd={"multifd": "none"})
def test_cut_in_each_phase(t, multifd):
    """By the network, or as the destination is killed: in the handshake, in the set-up, among the pages."""
    pair = TlsPair(t, multifd)
    pick = random.Random(3)
    passed = len(pair.record()[0].kept[FORWARD])
    pages = [pick.randrange(SET_UP[-1], passed * 8 // 10) for _ in range(3)]
    for n, offset in enumerate((*HANDSHAKE, *SET_UP, *pages)):
        if n % 2:
            pair.survive(lambda dest, o=offset: harm("call", o, call=dest.kill))
        else:
            pair.survive(lambda dest, o=offset: harm("cut", o))
    for offset in HANDSHAKE:
        pair.survive(lambda dest, o=offset: harm("cut", o, BACKWARD))
    pair.record()
