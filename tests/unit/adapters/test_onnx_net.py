"""A net that is not what it should be, or that nobody here can run, is refused with what to do."""

import builtins

import pytest

from greenlane.adapters.onnx_net import open_net
from greenlane.errors import ModelRefused
from greenlane.models.predictor import no_net


def test_without_onnx_runtime_a_net_is_refused_with_the_name_of_the_extra(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    for refuse in (open_net, no_net):
        with pytest.raises(ModelRefused, match="ONNX Runtime") as refusal:
            refuse(b"", 3)
        assert refusal.value.code == "model_extra_missing" and "[deep]" in (refusal.value.hint or "")


def test_bytes_that_are_no_graph_are_refused():
    pytest.importorskip("onnxruntime", reason="needs the [deep] extra")
    with pytest.raises(ModelRefused, match="cannot be read") as refusal:
        open_net(b"not a graph", 3)
    assert refusal.value.code == "model_malformed"


def test_a_graph_of_another_shape_is_refused():
    pytest.importorskip("onnxruntime", reason="needs the [deep] extra")
    onnx = pytest.importorskip("onnx", reason="needs the [deep] extra")
    of = onnx.helper
    graph = of.make_graph(
        [of.make_node("Identity", ["x"], ["y"])],
        "same",
        [of.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])],
        [of.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])],
    )
    model = of.make_model(graph, opset_imports=[of.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(ModelRefused, match="3 float32 to one float64"):
        open_net(model.SerializeToString(), 3)
