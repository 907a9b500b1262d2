#!/bin/bash
# Linux mmap: what a program wrote into its private mapping of a file is gone when anybody truncates the file
#
# version    Linux (seen with 6.18), on tmpfs and ext4; mmap with MAP_PRIVATE, ftruncate; python3
# guess      a page of a private mapping that has been written to (or populated with MADV_POPULATE_WRITE) is a copy
#            that belongs to the program, and nothing done to the file can change it: so overwriting the file leaves it
#            alone, and a program that has touched every page no longer depends on the file
# behaviour  overwriting and punching a hole do leave it alone. Truncating takes it away, copy or not: the address is a
#            SIGBUS while the file is shorter, and shows the file's new content, without a word, once it is as long
#            as before. A private mapping depends on the length of its file for as long as it exists. (The kernel drops
#            copies in unmap_mapping_range() when even_cows is set, which truncation does.)
# seen       "overwritten: mine; hole punched: mine; truncated and extended: b'\x00\x00\x00\x00'"
#
# Fails when the copy outlives the truncation. Needs python3 and fallocate (util-linux).
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
try=$(cat <<'P'
import mmap
import os
import subprocess
import sys

MADV_POPULATE_WRITE, PAGE = 23, mmap.PAGESIZE
path = sys.argv[1]
with open(path, "w+b", buffering=0) as f:
    f.write(b"file" * (2 * PAGE // 4))
    view = mmap.mmap(f.fileno(), 2 * PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    try:
        view.madvise(MADV_POPULATE_WRITE)
    except OSError:
        pass        # a kernel before 5.14; the next line writes in any case
    view[PAGE:PAGE + 4] = b"mine"

    def content():
        text = bytes(view[PAGE:PAGE + 4])
        return "mine" if text == b"mine" else repr(text)

    f.seek(0)
    f.write(b"new!" * (2 * PAGE // 4))
    overwritten = content()
    subprocess.run(["fallocate", "-p", "-o", str(PAGE), "-l", str(PAGE), path], check=True)
    punched = content()
    f.truncate(PAGE)
    f.truncate(2 * PAGE)
    print(f"overwritten: {overwritten}; hole punched: {punched}; truncated and extended: {content()}")
P
)
seen=$(python3 -c "$try" "$dir/file")
echo "$seen"
[ "$seen" = "overwritten: mine; hole punched: mine; truncated and extended: b'\\x00\\x00\\x00\\x00'" ]
