"""agnoscope: explain what a convolutional network sees, the same in PyTorch, JAX and TensorFlow.

    model = ag.wrap(network, input_size=(224, 224), mean=..., std=..., labels=...)
    explanation = ag.GradCAM()(model, "elephant.jpg")
    explanation.save("elephant.png")

Importing agnoscope loads no framework: a name of `__init__.pyi` is loaded from its home when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
