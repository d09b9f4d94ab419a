"""Which CPU cores each rank of this machine runs on."""

import os
import re


def parse_cores(text: str) -> list[set[int]]:
    """One set of cores a rank from taskset's notation with "/" between the ranks: "0-3,8/4-7".

    Raises:
        ValueError: it is not in that notation.
    """
    sets = []
    for part in text.split("/"):
        cores = set()
        for piece in part.split(","):
            if not (match := re.fullmatch(r"(\d+)(?:-(\d+))?", piece)):
                raise ValueError(f"'{piece}' is neither a core nor a range of cores such as 0-3")
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise ValueError(f"the range '{piece}' is empty")
            cores.update(range(first, last + 1))
        sets.append(cores)
    return sets


def share_cores(option: str, ranks: int) -> str:
    """The cores of each of `ranks` ranks in the notation of `parse_cores`, "" for no binding.

    Args:
        option: "false"; "true" for equal parts of the cores that this process may use; or the notation itself.

    Raises:
        ValueError: the option is none of these, names cores that are not there, or does not fit the ranks.
    """
    if option in ("", "false"):
        return ""
    usable = sorted(os.sched_getaffinity(0))
    if option == "true":
        share = len(usable) // ranks
        if share == 0:
            raise ValueError(f"{ranks} ranks cannot have a core each, {len(usable)} can be used here")
        return "/".join(",".join(map(str, usable[share * i : share * (i + 1)])) for i in range(ranks))
    sets = parse_cores(option)
    if len(sets) != ranks:
        raise ValueError(f"{len(sets)} sets of cores are named for {ranks} ranks of this machine")
    if missing := set().union(*sets) - set(usable):
        raise ValueError(f"core {min(missing)} cannot be used here, only {usable[0]} to {usable[-1]}")
    return option
