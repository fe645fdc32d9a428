"""Export a model for programs without this project: two ONNX graphs and everything else that translating needs."""
