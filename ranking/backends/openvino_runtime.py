"""OpenVINO's runtime, without its converter of models.

``import openvino`` imports the converter too, where that can be imported. It is not needed here, and a worker must do
without what it brings: it reports each import to its makers over the network, and the loggers of absl, which close
whatever standard error was when they came.
"""

import sys

CONVERTER = "openvino.tools.ovc"

_before = sys.modules.get(CONVERTER)
sys.modules[CONVERTER] = None  # type: ignore[assignment]  # Python's own way to say that it can't be imported
try:
    import openvino
    from openvino import opset13
finally:
    if _before is None:
        del sys.modules[CONVERTER]  # whoever wants it can import it by its name
    else:
        sys.modules[CONVERTER] = _before

__all__ = ["openvino", "opset13"]
