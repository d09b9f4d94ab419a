"""The dry run: a program runs on MindSpore's Ascend backend without an NPU, and its kernels are counted right."""

import json
import subprocess
import sys

from tests.support.paths import ROOT

PROGRAM = """
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

ms.set_context(mode=ms.GRAPH_MODE, jit_level="O0")
ms.set_device("Ascend")


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.weight = Parameter(Tensor(np.ones((3, 5), np.float32)), name="weight")

    def construct(self, x):
        return ops.exp(ops.matmul(x.astype(ms.float16), self.weight.astype(ms.float16)))


print(Net()(Tensor(np.ones((7, 3), np.float32))).shape)
"""


def dry_run(*arguments):
    command = [sys.executable, ROOT / "ascend_kernels/dryrun", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_kernels_of_a_program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = dry_run("--kernels", tmp_path / "kernels.json", tmp_path / "program.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(7, 5)\n"
    found = json.loads((tmp_path / "kernels.json").read_text())
    (graph,) = found["graphs"]
    assert [(kernel["name"], kernel["kind"]) for kernel in graph] == [
        ("Cast", "opapi"),
        ("Cast", "opapi"),
        ("MatMulExt", "opapi"),
        ("Exp", "opapi"),
    ]
    assert graph[2]["inputs"] == [["Float16", [7, 3]], ["Float16", [3, 5]]]
    assert graph[2]["outputs"] == [["Float16", [7, 5]]]
    assert found["peak_memory"] > 0


def test_a_tensor_of_a_convolution_is_read(monkeypatch):
    """Around convolutions MindSpore names the format of planes."""
    monkeypatch.syspath_prepend(ROOT / "ascend_kernels/dryrun")
    from kernels import read_graph

    graph = """  %3(equiv_6_output) = Conv2D(%0, %2) {instance name: conv2d} primitive_attrs: {group: I64(1)}
      : (<Tensor[Float16], (2, 3, 32, 32)>, <Tensor[Float16], (16, 3, 4, 4)>) -> (<Tensor[Float16], (2, 16, 8, 8)>)
      : (<Float16xDefaultFormat[const vector]{2, 3, 32, 32}>, <Float16xNCHW[const vector]{16, 3, 4, 4}>) -> \
(<Float16xNCHW[const vector]{2, 16, 8, 8}>)
      # Fullname with scope: (Default/conv/Conv2D-op0)
"""
    (kernel,) = read_graph(graph, {"Conv2D": "acl"})
    assert kernel["inputs"] == [["Float16", [2, 3, 32, 32]], ["Float16", [16, 3, 4, 4]]]
    assert kernel["outputs"] == [["Float16", [2, 16, 8, 8]]]


def test_a_failing_program_is_told(tmp_path):
    (tmp_path / "program.py").write_text("raise SystemExit('no such thing')")
    done = dry_run("--kernels", tmp_path / "kernels.json", tmp_path / "program.py")
    assert done.returncode == 1
    assert done.stderr == "no such thing\n"
    assert not (tmp_path / "kernels.json").exists()
