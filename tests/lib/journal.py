"""Which tests have begun and ended, in a file that outlives the machine they run on (scripts/lab --again)."""
import json
import os

TRIES = 2   # a test in which two machines ended is not begun a third time


class Journal:
    """Without a path it keeps nothing, and all tests are to be done."""

    def __init__(self, path):
        self.path = path
        self.done, self.begun = {}, {}
        if not path or not os.path.exists(path):
            return
        with open(path, encoding="utf-8") as f:
            for line in f:
                try:
                    entry = json.loads(line)
                except ValueError:      # the last one, of a machine that ended while it wrote
                    continue
                if "begun" in entry:
                    self.begun[entry["begun"]] = self.begun.get(entry["begun"], 0) + 1
                else:
                    self.done[entry["name"]] = entry

    def _add(self, entry):
        if not self.path:
            return
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(entry) + "\n")
            f.flush()
            os.fsync(f.fileno())

    def begin(self, name):
        self._add({"begun": name})

    def end(self, entry):
        self._add(entry)

    def earlier(self, name):
        """The result of a test that has ended on an earlier machine, or with which two machines ended; or None."""
        if name in self.done:
            return self.done[name]
        n = self.begun.get(name, 0)
        if n < TRIES:
            return None
        return {"name": name, "result": "FAIL", "seconds": 0.0,
                "text": f"it was under way when the machine that it ran on ended, {n} times"}
