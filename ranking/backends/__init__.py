"""Scoring backends: ONNX Runtime, OpenVINO, and the constant one."""
