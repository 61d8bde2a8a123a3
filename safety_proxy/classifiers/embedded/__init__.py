"""The embedded classifier: ships with the package, needs no network and no GPU.

- `features`     a text becomes hashed n-grams; the one path of training and run time
- `model`        the model file, and scores from it
- `explain`      which words weighed most
- `classifier`   `EmbeddedClassifier`: scores become verdicts
- `rows`, `contrast`, `calibration`, `train`, `evaluate`   how the model file is made and measured
"""

from safety_proxy.classifiers.embedded.classifier import EmbeddedClassifier
from safety_proxy.classifiers.embedded.model import Model

__all__ = ["EmbeddedClassifier", "Model"]
