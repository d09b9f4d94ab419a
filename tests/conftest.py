"""Shared fixtures and settings of the tests."""

import os
import tempfile

# MindSpore reads these when it is first imported: only errors on the terminal, no files in the working directory.
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())
