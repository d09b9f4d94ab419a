"""Does this interpreter meet the requirements of setup.py?

Usage: python check_requirements.py [EXTRA ...]. Exit code 0 if it does; else 1, and one line that names what does not.
"""

import runpy
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def unmet(extras: list[str]) -> list[str]:
    """The requirements, with those of `extras`, that are missing here or have another version."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ["packaging"]
    project = runpy.run_path(str(Path(__file__).parents[1] / "setup.py"))
    found = []
    for line in project["REQUIRES"] + [line for extra in extras for line in project["EXTRAS"][extra]]:
        requirement = Requirement(line)
        try:
            if version(requirement.name) not in requirement.specifier:
                found.append(line)
        except PackageNotFoundError:
            found.append(line)
    return found


if __name__ == "__main__":
    if not (3, 10) <= sys.version_info < (3, 13):
        sys.exit(f"Python {sys.version_info.major}.{sys.version_info.minor} is not one of 3.10, 3.11, 3.12")
    if missing := unmet(sys.argv[1:]):
        sys.exit("not installed: " + ", ".join(missing))
