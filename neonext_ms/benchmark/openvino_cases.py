"""OpenVINO's side of the benchmark, for a process of its own: see `worker`."""

import openvino
import torch

from neonext_ms.benchmark.torch_cases import network


class OpenVinoCases:
    """The blocks and networks of `TorchCases`, forward, as OpenVINO compiles them.

    Args:
        threads: of OpenVINO.
    """

    def __init__(self, threads: int):
        self._threads = threads
        self._cases = {}

    def version(self) -> str:
        """OpenVINO's."""
        return openvino.__version__.partition("-")[0]

    def prepare(self, key: str, form: str, what: str, shape: tuple[int, ...], backward: bool, *details):
        """`TorchCases.prepare`; form: "f32" or "bf16", the precision that OpenVINO is told to compute in."""
        torch.manual_seed(0)
        x = torch.randn(shape)
        model = openvino.convert_model(network(what, shape[1], *details).eval(), example_input=x, input=[shape])
        options = {"INFERENCE_PRECISION_HINT": form, "INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": 1}
        compiled = openvino.Core().compile_model(model, "CPU", options)
        self._cases[key] = compiled.create_infer_request(), x.numpy()

    def run(self, key: str):
        """A prepared case once."""
        request, x = self._cases[key]
        request.infer([x], share_inputs=True, share_outputs=True)
