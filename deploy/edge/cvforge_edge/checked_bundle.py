"""The bundle that a command line names, opened, proved and accepted as its options ask for."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvforge_edge.bundle import Bundle


def open_bundle_to_start(options: argparse.Namespace) -> Bundle:
    """The bundle, as little checked as a start may: all of it where it is to be trusted or proved, else not `whole`.

    Args:
        options: those of `open_checked_bundle`, and `self_test`.

    Raises:
        EdgeError: as in `open_checked_bundle`.
    """
    if options.trust is not None or options.self_test:
        return open_checked_bundle(options)
    from cvforge_edge.bundle import open_bundle_to_run

    return open_bundle_to_run(options.bundle)


def open_checked_bundle(options: argparse.Namespace) -> Bundle:
    """The bundle, once signature, version and every byte are as they should be.

    Args:
        options: with `bundle`, `trust`, `accepted` and `quiet`.

    Raises:
        EdgeError: the bundle is damaged, not signed by a trusted key, or older than what was accepted.
    """
    from cvforge_edge.bundle import open_bundle

    if options.trust is None:
        return open_bundle(options.bundle)
    from cvforge_edge.trust import read_trust
    from cvforge_edge.versions import Release, accepted_release, check_not_older, default_record_path

    options.accepted = options.accepted or default_record_path()
    bundle = open_bundle(options.bundle, trust=read_trust(options.trust))
    name = bundle.manifest.name
    check_not_older(accepted_release(options.accepted, name), Release.of(bundle), name=name)
    say(options, f"{name} version {bundle.manifest.version}, signed by {', '.join(map(str, bundle.signers))}")
    return bundle


def accept(options: argparse.Namespace, bundle: Bundle) -> None:
    """From now on this device refuses older versions of the model; only once it has proved that it works here."""
    if options.trust is not None:
        from cvforge_edge.versions import Release, accept_release

        accept_release(options.accepted, bundle.manifest.name, Release.of(bundle))


def self_test(options: argparse.Namespace, bundle: Bundle) -> str:
    """Replay the bundle's golden vectors; the name of the backend that computes rightly here.

    Args:
        options: with `threads`, `backend`, `precision`, and those of `open_checked_bundle`.
        bundle: an open one; whoever goes on to use it accepts it once it is loaded.

    Raises:
        EdgeError: the golden vectors are damaged, or this device does not reproduce them.
    """
    from cvforge_edge.selftest import run_self_test

    threads = options.threads if isinstance(options.threads, int) else 1
    report = run_self_test(bundle, backend=options.backend, precision=options.precision, threads=threads)
    say(
        options,
        f"self-test passed: {report.model} on {report.backend}, {report.items} golden images, largest error of a raw "
        f"output {report.worst_output_error:.2g} of its range",
    )
    return report.backend


def say(options: argparse.Namespace, text: str) -> None:
    """Tell the user, unless that is not wanted (`quiet`)."""
    if not options.quiet:
        sys.stderr.write(f"{text}\n")
