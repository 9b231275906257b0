"""Backends with hardware beside the processor: none is here, so what is tested is how their absence and their start are told.

The delegates are real shared libraries, compiled here: one takes no part of the model, one finds no hardware.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvforge_edge.backends import BACKENDS, is_installed, open_backend, table
from cvforge_edge.errors import BackendError
from edge.test_backends import model_of, redness_score

PLUGIN = """
#include <stddef.h>
#include <stdint.h>
typedef struct Delegate {
  void* data;
  int (*prepare)(void* context, struct Delegate* delegate);
  void* copy_from; void* copy_to; void* free_handle;
  int64_t flags;
  void* builder;
} Delegate;
static int prepare(void* context, Delegate* delegate) { return 0; }
static Delegate delegate = {NULL, prepare};
Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
#ifdef ABSENT
  report("no accelerator on the bus");
  return NULL;
#else
  return &delegate;
#endif
}
void tflite_plugin_destroy_delegate(Delegate* given) {}
"""

providers = [name for name, entry in BACKENDS.items() if entry.provider and is_installed(name)]
needs_litert = pytest.mark.skipif(not is_installed("litert"), reason="ai-edge-litert is not installed")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Compiles a delegate and lets `litert-edgetpu` name it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to make a delegate with")

    def make(*flags: str) -> Path:
        (tmp_path / "plugin.c").write_text(PLUGIN)
        library = tmp_path / "libplugin.so"
        command = [compiler, "-shared", "-fPIC", *flags, "-o", str(library), str(tmp_path / "plugin.c")]
        subprocess.run(command, check=True, timeout=60)
        monkeypatch.setitem(
            table.BACKENDS, "litert-edgetpu", replace(BACKENDS["litert-edgetpu"], delegate=str(library))
        )
        return library

    return make


@needs_litert
def test_model_runs_with_a_delegate(plugin):
    plugin()
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    backend = open_backend("litert-edgetpu", model_of("litert"))
    np.testing.assert_allclose(backend.run(image)["scores"][0, :, 0], redness_score(image), atol=1e-5)
    backend.close()


@needs_litert
def test_delegate_without_its_hardware_is_told_with_its_own_words(plugin):
    library = plugin("-DABSENT")
    with pytest.raises(BackendError, match=f"(?s)delegate {library}: cannot be loaded: .*no accelerator on the bus"):
        open_backend("litert-edgetpu", model_of("litert"))


@needs_litert
@pytest.mark.parametrize("name", [name for name, entry in BACKENDS.items() if entry.delegate])
def test_delegate_that_is_not_installed_is_named_with_what_to_do(name):
    with pytest.raises(
        BackendError, match=rf"{BACKENDS[name].delegate}.*ldconfig -p.*choose --backend litert"
    ) as failed:
        open_backend(name, model_of("litert"))
    assert failed.value.exit_code == 11


@pytest.mark.parametrize("name", providers)
def test_onnxruntime_without_the_provider_says_which_package_has_it(name):
    import onnxruntime

    entry = BACKENDS[name]
    if entry.provider in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {entry.provider}")
    expected = rf"no {entry.provider} \(found .*CPUExecutionProvider\); .*pip install {entry.requirement}"
    with pytest.raises(BackendError, match=expected):
        open_backend(name, model_of("onnxruntime"))


@pytest.mark.parametrize("name", providers)
def test_provider_that_does_not_start_is_an_error_and_not_a_slow_run(name, monkeypatch):
    """The runtime itself goes on with the processor and says nothing; the list of its providers is made longer here."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if BACKENDS[name].provider in available:
        pytest.skip(f"this onnxruntime has {BACKENDS[name].provider}")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [BACKENDS[name].provider, *available])
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(  # naming a provider that the build lacks is a warning of the runtime
        onnxruntime,
        "InferenceSession",
        lambda path, *, sess_options, providers: session(path, sess_options, providers[1:]),
    )
    with pytest.raises(BackendError, match=f"{BACKENDS[name].provider} cannot start here"):
        open_backend(name, model_of("onnxruntime"))


def test_accelerators_are_never_chosen_by_themselves():
    assert table.choose_backend(["onnx"]) == "onnxruntime" or not is_installed("onnxruntime")
    assert all(entry.by_name_only for entry in BACKENDS.values() if entry.provider or entry.delegate)
