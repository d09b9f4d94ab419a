"""Package metadata: `pip install -e .[dev]`.

REQUIRES and EXTRAS are also read by scripts/check_requirements.py, without setuptools.
"""

import re
from pathlib import Path

REQUIRES = [
    "mindspore>=2.8,<2.11",  # tests passed on each: README.md; 2.7 has no kernel of mint.select on a CPU
    "numpy>=1.26,<2",  # MindSpore's wheel accepts numpy 2 but fails with it at the first multiplication
    "pillow>=10.3,<14",
    "pyyaml>=6,<7",
    "jsonargparse>=4.39,<5",
    "docstring-parser>=0.15,<1",  # without it --help lists the options but does not explain them
    "matplotlib>=3.8,<4",
    "safetensors>=0.4,<1",  # MindSpore has it too
]

EXTRAS = {
    "digits": ["scikit-learn>=1.4,<2"],  # carries the built-in data set
    "tensorboard": ["tensorboardX>=2.6,<3"],
    "trackers": ["swanlab>=0.10,<1", "wandb>=0.18,<1", "mlflow-skinny>=2.9,<4"],  # 340 MB: not part of dev
    "onnx": ["onnx>=1.16,<2", "onnxruntime>=1.18,<2"],
    "parquet": ["pyarrow>=15,<22"],  # 26 needs numpy 2
    "convert": ["torch>=2.6,<3", "ninja"],  # only to compare with the authors' code; .pt files need neither
}
# What CANN's own Python parts import (its installation guide), beside NumPy, SciPy, psutil and PyYAML.
EXTRAS["ascend"] = [
    "attrs>=22",
    "decorator>=5",
    "sympy>=1.12",
    "cffi>=1.15",
    "pathlib2>=2.3",
    "requests>=2.28",
    "absl-py>=1.4",
    "protobuf>=3.20,<4",
]
EXTRAS["dev"] = [
    *EXTRAS["digits"],
    *EXTRAS["tensorboard"],
    *EXTRAS["onnx"],
    *EXTRAS["parquet"],
    "clang-format==20.*",  # its formatting, too, differs between versions
    "hypothesis>=6.100,<7",
    "pytest>=8,<10",
    "pytest-xdist>=3.6,<4",  # most of a test run is the compilation of graphs, which uses one core
    "ruff==0.17.*",  # the formatting that CI enforces differs between minor versions
    "setuptools>=65,<85",  # a test builds the package; virtual environments of Python 3.12 come without it
]
EXTRAS["all"] = EXTRAS["dev"] + EXTRAS["convert"]

if __name__ == "__main__":
    from setuptools import find_packages, setup

    init = (Path(__file__).parent / "neonext_ms" / "__init__.py").read_text(encoding="utf-8")
    setup(
        name="neonext_ms",
        version=re.search(r'^__version__ = "(.+)"$', init, re.MULTILINE).group(1),
        description="NeoNeXt in MindSpore: the NeoCell operator, its models, their training and deployment on Ascend",
        license="Apache-2.0",
        license_files=["LICENSE"],
        python_requires=">=3.10,<3.13",
        # The CPU kernel is compiled where it runs, so its sources are part of what is installed.
        packages=[*find_packages(include=["neonext_ms", "neonext_ms.*"]), "neonext_ms.ops.cpu.kernel"],
        package_dir={"neonext_ms.ops.cpu.kernel": "ascend_kernels/cpu"},
        package_data={"neonext_ms": ["py.typed"], "neonext_ms.ops.cpu.kernel": ["*.cpp", "*.h"]},
        install_requires=REQUIRES,
        extras_require=EXTRAS,
        entry_points={"console_scripts": ["neonext = neonext_ms.cli:main"]},
    )
