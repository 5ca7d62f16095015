"""Scoring backends: ONNX Runtime, and the constant one."""
