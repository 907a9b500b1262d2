"""The harness's own choice of rows: no machine is started."""
import os
import subprocess
import sys
from itertools import combinations, product

import pairwise
from case import only_minivmm, table
from journal import Journal

RUNNER = os.path.join(os.path.dirname(os.path.abspath(pairwise.__file__)), "runner.py")
FREE = {"_".join(map(str, v)): dict(zip("abcd", v)) for v in product(range(3), range(4), range(2), "xy")}
LISTS = {f"{a}{b}{c}": {"a": [a], "b": {"is": b}, "c": c} for a, b, c in product(range(3), repeat=3)}
TABLES = {
    "free": FREE,
    "impossible": {name: row for name, row in FREE.items()
                   if (row["a"], row["b"]) != (0, 0) and row["a"] + row["c"] < 3},
    "unhashable": LISTS,
    "columns_missing": FREE | {name + "_e": dict(row, e=1) for name, row in FREE.items()} | {"more": {"a": 0}},
    "one_column": {str(n): {"a": n} for n in range(3)},
}
ONLY_ONCE = "the program under test does not matter"


def meets(rows, columns):
    return {frozenset((column, repr(row.get(column, "left out"))) for column in two)
            for row in rows for two in combinations(columns, min(2, len(columns)))}


@only_minivmm(ONLY_ONCE)
@table(**{name: {"rows": rows} for name, rows in TABLES.items()})
def test_pairs(t, rows):
    """All that meets in the table meets in the choice, which is the same each time, in order, and smaller."""
    del t
    columns = {column for row in rows.values() for column in row}
    chosen = pairwise.choose(rows)
    assert meets([rows[name] for name in chosen], columns) == meets(rows.values(), columns)
    assert chosen == pairwise.choose(dict(rows)) == [name for name in rows if name in chosen]
    assert len(chosen) < len(rows) or rows is TABLES["one_column"], (len(chosen), len(rows))


def listed(*options):
    done = subprocess.run([sys.executable, RUNNER, "--list", *options, "interop"], capture_output=True, text=True,
                          check=True)
    return done.stdout.split()


@only_minivmm(ONLY_ONCE)
def test_every(t):
    """--every has the rows that are left out otherwise; one that is named runs all the same."""
    del t
    test = "interop/test_multifd_peers:test_ram_is_equal"
    every, chosen = listed("--every", "--only", test), listed("--only", test)
    assert set(chosen) < set(every), chosen
    left = next(name for name in every if name not in chosen)
    assert listed("--only", left) == [left]


@only_minivmm(ONLY_ONCE)
def test_journal(t):
    """What has ended is not done again, what was cut off once is, and what was cut off twice has failed."""
    path = t.path("journal")
    first = Journal(path)
    first.begin("a")
    first.end({"name": "a", "result": "PASS", "seconds": 1.0, "text": ""})
    for name in ("b", "c", "c"):
        first.begin(name)
    with open(path, "a", encoding="utf-8") as f:
        f.write('{"begun": "b')     # the machine ended here
    again = Journal(path)
    assert again.earlier("a")["result"] == "PASS"
    assert again.earlier("b") is None and again.earlier("d") is None
    assert again.earlier("c")["result"] == "FAIL" and "2 times" in again.earlier("c")["text"]
    assert Journal(None).earlier("c") is None
