#!/usr/bin/python3
"""Runs tests/linux with the runner of tests/lib, one at a time and with patience."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402  pylint: disable=wrong-import-position

runner.HANG = 1500

if __name__ == "__main__":
    sys.argv += ["--jobs", "1", "linux"]
    sys.exit(runner.main())
