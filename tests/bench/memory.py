"""Guest memory whose pages the host has backed beforehand.

A page that a process touches for the first time is allocated and cleared, and on a host that is
itself a virtual machine the host below may have to do the same once more. Measured together with a
copy, that is most of the time, it varies widely, and it is the same for every program. So what is
copied lies in huge pages that are reserved once for the whole work.
"""
import os
import subprocess

HUGE = 2 << 20
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"


def pool(pages=None):
    """The host's huge pages; sets their number first."""
    if pages is not None:
        with open(POOL, "w", encoding="ascii") as f:
            f.write(str(pages))
    with open(POOL, encoding="ascii") as f:
        return int(f.read())


class Warm:
    """Files for two guests' memory of so many bytes each, and their folder."""

    def __init__(self, tmp, size):
        self.folder = os.path.join(tmp, "ram")
        self.want = 2 * (size // HUGE + 1)
        self.note = ""
        self.before = None

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        try:
            self.before = pool()
            if pool(self.before + self.want) < self.before + self.want:
                raise OSError("not enough memory in one piece")
            subprocess.run(["mount", "-t", "hugetlbfs", "none", self.folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as e:
            self._give_back()
            self.note = f"no huge pages ({e}): the page allocator is measured too"
        return self

    def __exit__(self, *_):
        for name in os.listdir(self.folder):
            os.unlink(os.path.join(self.folder, name))
        if self.before is not None:
            subprocess.run(["umount", "-l", self.folder], check=True)
        self._give_back()

    def _give_back(self):
        if self.before is not None:
            pool(self.before)
        self.before = None

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def content(self):
        return self.path("content")
