"""What each `neonext` command does: one thin function, whose docstring and types are the command's help and options.

Nothing is imported before it is needed: the help of a command takes no framework.
"""

from neonext_ms.commands.analysis import benchmark, env, profile
from neonext_ms.commands.data import pack, plot
from neonext_ms.commands.deployment import convert, export, infer, validate
from neonext_ms.commands.training import ablate, report, train

FUNCTIONS = (train, ablate, report, validate, profile, export, convert, infer, pack, plot, benchmark, env)
COMMANDS = {function.__name__: function for function in FUNCTIONS}
SUBJECTS = {
    "plot": ["augment"],
    "benchmark": ["operator", "block", "network", "step", "compute", "layers", "data", "checkpoint", "artefact"],
}  # what these commands can show
