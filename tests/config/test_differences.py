"""What differs between configs."""

from __future__ import annotations

from dataclasses import asdict

from cvforge.config.differences import config_differences
from cvforge.config.flat import flattened
from cvforge.config.load import load


def test_only_what_differs_is_told_and_places_are_not() -> None:
    plain = asdict(load("cls_demo", ["run.dir=/a"]))
    changes = ["run.dir=/b", "optim.lr=0.5", "augment=null", "trainer.deterministic=false"]
    other = asdict(load("cls_demo", changes))
    found = config_differences(plain, other)
    assert found["optim.lr"] == (str(plain["optim"]["lr"]), "0.5")
    assert found["trainer.deterministic"] == ("true", "false")
    assert found["augment"] == ("(absent)", "null")
    assert all(key.startswith(("augment", "optim.lr", "trainer.deterministic")) for key in found)
    assert config_differences(plain, plain) == {}


def test_passwords_in_addresses_are_masked() -> None:
    configs = {"logging": {"mlflow_uri": None}}, {"logging": {"mlflow_uri": "https://me:pw@host/x"}}
    assert config_differences(*configs) == {"logging.mlflow_uri": ("null", "https://***@host/x")}


def test_nested_values_become_dotted_names() -> None:
    assert flattened({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}
