"""The modes of precopy, and which combinations are tried: tracker x encoder x channel x RAM.

All of them would be some two hundred moves. What goes wrong hangs on one part or on two that meet, so
ROWS holds every pair of settings that can be had together at least once (and every encoder on every
channel is such a pair). The choice is the same each time.
"""
from itertools import product

from encoders import ENCODERS
from moves import ALL_SCHEMES
from pairwise import choose

TRACKERS = {"log": None, "ring": 1024}
BACKENDS = ("anonymous", "memfd", "tmpfs", "private")
PARTS = (tuple(ENCODERS), ALL_SCHEMES, BACKENDS, tuple(TRACKERS))

TRANSPORT = "multifd is not supported by current protocol"
NEEDS_TCP = "'zero-copy-send' is possible on tcp: only, this channel is another"


def why_not(encoder, scheme):
    """The words with which an encoder is refused on a channel; None: they go together."""
    used = ENCODERS[encoder]["source"]
    if "multifd" in used and scheme not in ("tcp", "unix"):
        return TRANSPORT
    return NEEDS_TCP if "zero-copy-send" in used and scheme != "tcp" else None


_LEGAL = {"_".join(row): dict(zip(("encoder", "scheme", "backend", "tracker"), row))
          for row in product(*PARTS) if not why_not(*row[:2])}
ROWS = {name: _LEGAL[name] for name in choose(_LEGAL)}
REFUSED = {f"{encoder}_{scheme}": {"encoder": encoder, "scheme": scheme}
           for encoder, scheme in product(ENCODERS, ALL_SCHEMES) if why_not(encoder, scheme)}
