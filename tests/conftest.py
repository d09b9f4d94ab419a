"""Shared fixtures and settings of the tests."""

import os

# MindSpore reads these when it is first imported: only errors on the terminal, no files in the working directory.
os.environ.setdefault("GLOG_v", "3")
