"""Export of a model for programs that do not have this project: two ONNX graphs and all that translating needs."""
