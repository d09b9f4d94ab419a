"""MindSpore's cache of compiled graphs, which is not for runs whose settings may change."""

import logging
import os

log = logging.getLogger(__name__)


def ignore_graph_cache():
    """Switch off MindSpore's cache of compiled graphs, with a line that says so.

    It takes the graph that was compiled at the same place of an earlier run and looks at source files only: a run with
    another clip_grad or drop_path_rate trained with those of the run before, without a word (MindSpore 2.10).
    """
    if os.environ.pop("MS_COMPILER_CACHE_ENABLE", "0").strip() not in ("", "0"):
        log.warning("MS_COMPILER_CACHE_ENABLE is not used: that cache cannot tell runs with other settings apart")
