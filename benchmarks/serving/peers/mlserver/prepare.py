"""Write MLServer's settings files: python prepare.py MODEL_FOLDER native|onnx FOLDER.

Requests are gathered for 1 ms or until they are 64, and answered in the main process, which costs less than a worker.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    model, runtime, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    (folder / "settings.json").write_text(json.dumps({"debug": False, "parallel_workers": 0, "host": "127.0.0.1"}))
    settings = {
        "name": "hgb",
        "implementation": "runtime.GraphModel" if runtime == "onnx" else "mlserver_sklearn.SKLearnModel",
        "max_batch_size": 64,
        "max_batch_time": 0.001,
        "parameters": {"uri": str(model / ("model.onnx" if runtime == "onnx" else "model.joblib"))},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
