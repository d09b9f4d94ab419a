"""What each `neonext` command does: one thin function, whose docstring and types are the command's help and options.

Nothing is imported before it is needed: the help of a command takes no framework.
"""

from neonext_ms.commands.benchmark import SUBJECTS
from neonext_ms.commands.data import pack_command, plot_command
from neonext_ms.commands.deployment import convert_command, export_command, infer_command, validate_command
from neonext_ms.commands.models import env_command, inspect_command, profile_command
from neonext_ms.commands.training import ablate_command, report_command, train_command

# Name -> function, or the subjects of a command: name -> function.
COMMANDS = {
    "train": train_command,
    "plot": plot_command,
    "report": report_command,
    "validate": validate_command,
    "export": export_command,
    "infer": infer_command,
    "convert": convert_command,
    "pack": pack_command,
    "ablate": ablate_command,
    "inspect": inspect_command,
    "profile": profile_command,
    "benchmark": SUBJECTS,
    "env": env_command,
}
SUMMARIES = {"benchmark": "Measure how fast things are here, beside their competitors; one subject at a time."}
