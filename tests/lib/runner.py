#!/usr/bin/python3
"""Finds and runs the tests on tiny guests: tests/guest, tests/interop, tests/fault; and those of images: tests/img.

    runner.py [--kind minivmm|qemu] [--only PATTERN]... [--skip PATTERN]... [--sample | --every]
              [--jobs N] [--list] [--results FILE] [--journal FILE] [FOLDER...]

Each test runs in a process of its own (and a process group, which is all that is killed after it),
with its output kept and shown when it fails. One line per test:

    PASS guest/test_boot:test_hello[ged] 0.3 s
    SKIP interop/test_qemu:test_round_trip (no /usr/bin/qemu-system-x86_64)

The totals go to a file: {"passed": 1, "failed": 0, "skipped": 1, "tests": [...]}.
The status is 0 when none has failed.
"""
import argparse
import concurrent.futures
import faulthandler
import fnmatch
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback

LIB = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(LIB)
sys.path.insert(0, LIB)

import peers  # noqa: E402  pylint: disable=wrong-import-position
from case import BUILD, Skip, Test  # noqa: E402  pylint: disable=wrong-import-position
from journal import Journal  # noqa: E402  pylint: disable=wrong-import-position

FOLDERS = ["guest", "interop", "fault", "img"]
HANG = int(os.environ.get("TEST_HANG", "240"))  # seconds after which a whole test has hung
AGAIN = 6       # more failures than these are not the host's
SKIPPED = 77
REASON = "skipped: "    # in front of it in a test's output, which may have had other lines before


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def discover(folders, only="test_*.py"):
    """(name, path, function, row, whether the row is of its table's choice) of every test in such files, in order."""
    for folder in folders:
        directory = os.path.join(TESTS, folder)
        files = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        for file in fnmatch.filter(files, only):
            path = os.path.join(directory, file)
            module = load(path)
            for function, value in vars(module).items():
                if not function.startswith("test_") or not callable(value):
                    continue
                name = f"{folder}/{file[:-3]}:{function}"
                rows = getattr(value, "rows", None) or [None]
                for row in rows:
                    yield name + (f"[{row}]" if row else ""), path, function, row, \
                        row in getattr(value, "chosen", rows)


def run_here(name, path, function, row, kind):
    """In the test's own process: its exit status. A skipped test prints the reason behind REASON."""
    faulthandler.dump_traceback_later(HANG - 10, exit=False)
    body = getattr(load(path), function)
    if kind != "minivmm" and getattr(body, "only_minivmm", None):
        print(REASON + body.only_minivmm)
        return SKIPPED
    test = Test(kind)
    try:
        body(test, **(body.rows[row] if row else {}))
    except Skip as e:
        print(f"{REASON}{e}")
        return SKIPPED
    except BaseException:  # pylint: disable=broad-except
        print(f"---- {name} failed")
        traceback.print_exc(file=sys.stdout)
        test.explain()
        return 1
    finally:
        test.close()
        sys.stdout.flush()
    return 0


def run_apart(name, kind, groups, journal=Journal(None)):
    """Starts a process for one test; (result, reason or output, seconds)."""
    journal.begin(name)
    begin = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--kind", kind, "--one",
                                    name], stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
        groups.add(process.pid)
        try:
            status = process.wait(HANG)
        except subprocess.TimeoutExpired:
            status = "hung"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        groups.discard(process.pid)
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    seconds = time.monotonic() - begin
    if status == "hung":
        return "FAIL", text + f"\n---- did not end within {HANG} s", seconds
    if status == SKIPPED:
        text = text.rpartition(REASON)[2]
    return {0: "PASS", SKIPPED: "SKIP"}.get(status, "FAIL"), text, seconds


def arguments():
    parser = argparse.ArgumentParser(description="Runs the tests on tiny guests.")
    parser.add_argument("folders", nargs="*", default=FOLDERS, help="of tests/ (default: all)")
    parser.add_argument("--kind", default="minivmm", choices=["minivmm", "qemu"],
                        help="the program under test")
    parser.add_argument("--only", action="append", metavar="PATTERN",
                        help="a part of the name, or a pattern with *")
    parser.add_argument("--skip", action="append", metavar="PATTERN", help="the same, to leave out")
    parser.add_argument("--sample", action="store_true", help="of each table the first row only")
    parser.add_argument("--every", action="store_true",
                        help="all rows of the tables that are marked pairwise, too (as a row that --only names)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--once", action="store_true", help="a test that failed is not run again alone")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--results", default=None, help="file for the totals")
    parser.add_argument("--journal", default=None,
                        help="file of what has been done: a run that was cut off goes on behind it")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def matches(name, patterns):
    return any(p in name or fnmatch.fnmatch(name, p) for p in patterns or ())


def wanted(tests, options):
    """Those that the options ask for."""
    named = [p for p in options.only or () if "[" in p]
    seen = set()
    for test in tests:
        name, _, _, row, chosen = test
        if not chosen and not options.every and not matches(name, named):
            continue
        first = row is None or name.split("[")[0] not in seen
        seen.add(name.split("[")[0])
        if (not options.only or matches(name, options.only)) and not matches(name, options.skip) and \
                (first or not options.sample):
            yield test


def report(name, result, text, seconds):
    reason = " (" + " ".join(text.split())[:200] + ")" if result == "SKIP" else ""
    print(f"{result} {name}{reason} {seconds:.1f} s", flush=True)
    if result == "FAIL":
        print("\n".join("    " + line for line in text.splitlines()), flush=True)


def run_all(tests, options):
    done, groups, journal = [], set(), Journal(options.journal)
    for name, *_ in tests:
        if entry := journal.earlier(name):
            if name not in journal.done:
                report(name, entry["result"], entry["text"], 0.0)
            done.append(entry)
    had = {d["name"] for d in done}
    with concurrent.futures.ThreadPoolExecutor(max(1, options.jobs)) as pool:
        futures = {pool.submit(run_apart, name, options.kind, groups, journal): name
                   for name, *_ in tests if name not in had}
        try:
            for future in concurrent.futures.as_completed(futures):
                result, text, seconds = future.result()
                report(futures[future], result, text, seconds)
                done.append({"name": futures[future], "result": result,
                             "seconds": round(seconds, 2), "text": "" if result == "PASS" else text})
                journal.end(done[-1])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for group in list(groups):
                os.killpg(group, signal.SIGKILL)
            raise
    return done


def run_again(done, options):
    """
    Tests that failed beside others have the machine for themselves once more: what a loaded host does to
    a guest is no fault of the program's. It is said of each, and many at a time are a fault.
    """
    failed = [d for d in done if d["result"] == "FAIL"]
    if options.once or options.jobs == 1 or len(failed) > AGAIN:
        return
    for d in failed:
        d["result"], text, seconds = run_apart(d["name"], options.kind, set())
        print(f"AGAIN {d['name']}: it failed beside other tests, and alone it "
              f"{'passed' if d['result'] == 'PASS' else 'failed again'}", flush=True)
        report(d["name"], d["result"], text, seconds)


def choose_qemu():
    """The tests know what QEMU 7.2 does; a machine with another has that fetched. QEMU= names any."""
    if "QEMU" in os.environ:
        return
    path, why = peers.qemu("7.2")
    if why:
        print(f"the other end is this machine's QEMU: {why}", flush=True)
    else:
        os.environ["QEMU"] = path


def main():
    options = arguments()
    if options.one:
        folder, file = options.one.split(":")[0].split("/")
        test = next(t for t in discover([folder], file + ".py") if t[0] == options.one)     # the others cost more than it
        return run_here(*test[:4], options.kind)
    tests = list(wanted(discover(options.folders), options))
    if options.list:
        print("\n".join(t[0] for t in tests))
        return 0

    choose_qemu()
    done = run_all(tests, options)
    run_again(done, options)
    totals = {word: sum(d["result"] == key for d in done)
              for key, word in (("PASS", "passed"), ("FAIL", "failed"), ("SKIP", "skipped"))}
    results = options.results or os.path.join(BUILD, "tests", "guests.json")
    os.makedirs(os.path.dirname(os.path.abspath(results)), exist_ok=True)
    with open(results, "w", encoding="utf-8") as f:
        json.dump(totals | {"kind": options.kind, "tests": done}, f, indent=1)
    print(", ".join(f"{n} {word}" for word, n in totals.items()))
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
