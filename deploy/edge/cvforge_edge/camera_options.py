"""The command line of run_camera.py."""

from __future__ import annotations

import argparse

from cvforge_edge.evidence.options import add_evidence_options, evidence_settings
from cvforge_edge.model_options import AUTO, add_model_options
from cvforge_edge.option_places import check_places
from cvforge_edge.option_types import count
from cvforge_edge.output_options import add_output_options
from cvforge_edge.source_options import add_source_option, add_source_options
from cvforge_edge.step_options import add_step_options
from cvforge_edge.supervision import add_supervision_options
from cvforge_edge.web.options import add_web_options

FOR_SELF_TEST = ("bundle", "self_test", "backend", "precision", "threads", "cpus", "trust", "accepted", "log", "quiet")
"""What means something to --self-test without a source."""
DESCRIPTION = "Run a model bundle on a camera, a network stream, a video or images."
EPILOG = """examples:
  python run_camera.py --bundle bundle --source clip.mp4 --save out.mp4 --json out.jsonl
  python run_camera.py --bundle bundle --source 0 --show
  python run_camera.py --bundle bundle --source rtsp://camera.local/stream --json results.jsonl
  python run_camera.py --bundle bundle --source door=rtsp://10.0.0.7/main --source yard=0 --json - --save out.mp4
  python run_camera.py --bundle bundle --source test: --show
  python run_camera.py --bundle bundle --source 0 --web                              # live page and metrics, port 8080
  python run_camera.py --bundle bundle --source photos/ --save annotated/
  python run_camera.py --bundle bundle --source clip.mp4 --json - --quiet | jq .detections
  python run_camera.py --bundle bundle --source 0 --csv counts.csv --rotate 10
  python run_camera.py --bundle bundle --source 0 --mqtt mqtts://gate@broker.local/site/gate --send-rate 2
  python run_camera.py --bundle bundle --source 0 --webhook https://example.com/hook --webhook-picture
  python run_camera.py --bundle bundle --source clip.mp4 --track --classes person,car=0.6 --save out.mp4
  python run_camera.py --bundle bundle --source 0 --track --rules rules.yaml      # count, watch zones: docs/rules.md
  python run_camera.py --bundle bundle --source 0 --evidence evidence/ --evidence-pictures blurred  # drift, hard frames
  python run_camera.py --bundle bundle --self-test
  python run_camera.py --bundle bundle --trust /etc/cvforge/trust --source 0        # only what a known key has signed

Several sources share one model: lines of --json carry their names, and --save out.mp4 writes out-door.mp4 and
out-yard.mp4 (a folder: annotated/door/ and annotated/yard/). One that fails for good does not end the others; the run
ends with its code when they are through.

Ctrl-C (SIGINT) or SIGTERM ends a run within a second; videos and JSON files are complete then. The lines of --json are
described at the top of cvforge_edge/sinks/jsonl.py and in README.md. Pages called docs/... are in the project, not here.

exit codes:
  0 done (a camera stopped by a signal counts as done)     8 camera, stream or video cannot be opened or was lost
  1 unexpected error                                       9 this device fails the bundle's self-test
  2 wrong options                                         10 a result cannot be stored (disk full, no permission)
  4 an image cannot be read                               11 inference runtime missing, or a model unusable
  7 bundle damaged, not trusted or older                  13 a --limit was passed, or inference fails again
                                                             and again: start it again
                                                         130 stopped by a signal before the end of a file
"""


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """The checked options; ends the process with code 2 and a message where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="run_camera.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    general = parser.add_argument_group("options")  # one of the parser itself would import what measures a terminal
    general.add_argument("-h", "--help", action="help", help="show this help message and exit")
    general.add_argument("--bundle", required=True, metavar="FOLDER", help="model bundle, as tools/export.py writes it")
    add_source_option(general)
    add_source_options(parser.add_argument_group("sources"))
    _add_result_options(parser.add_argument_group("results (any number of them; none only measures the speed)"))
    add_output_options(parser)
    add_evidence_options(parser.add_argument_group("evidence for the next training"))
    _add_model_options(parser.add_argument_group("model"))
    add_step_options(parser.add_argument_group("after the network"))
    _add_run_options(parser.add_argument_group("run"))
    options = parser.parse_args(arguments)
    if options.source is None and not options.self_test:
        parser.error("nothing to do: give --source (for instance --source clip.mp4 or --source 0), or --self-test")
    if options.accepted is not None and options.trust is None:
        parser.error("--accepted belongs to --trust: without keys no version is refused")
    useless = [] if options.source is not None else _not_for_self_test(parser, options)
    if useless:
        parser.error(
            f"{', '.join(useless)}: {'needs' if len(useless) == 1 else 'need'} a --source; --self-test alone runs no camera"
        )
    if options.threads == AUTO and options.sessions is not None:
        parser.error(
            "--sessions: --threads auto measures how many are fastest; give a number to --threads, or leave one out"
        )
    if options.web_token is not None and options.web is None:
        parser.error("--web-token belongs to --web")
    check_places(options)
    evidence_settings(options)  # refuses options that do not go together
    return options


def _not_for_self_test(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    """Options that were given and mean nothing to a self-test alone."""
    given = [name for name, value in vars(options).items() if value != parser.get_default(name)]
    useless = [f"--{name.replace('_', '-')}" for name in given if name not in FOR_SELF_TEST]
    return [*useless, *(["--threads auto"] if options.threads == AUTO else [])]


def _add_result_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--save",
        metavar="PATH",
        help="annotated video (.mp4, .avi, .mkv), or a folder for annotated pictures (folder/)",
    )
    add("--json", metavar="FILE", help="one JSON object a line for each frame; - is standard output")
    add("--show", action="store_true", help="window with the annotated frames; q or Escape ends the run")
    add_web_options(group)


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    add_model_options(group)
    add = group.add_argument
    trust_help = "folder of public keys (*.pub), or one: run only what one of them has signed (see README.md)"
    add("--trust", metavar="PATH", help=trust_help)
    accepted_help = (
        "where --trust notes the newest version of each model, to refuse older ones (default: see README.md)"
    )
    add("--accepted", metavar="FILE", help=accepted_help)
    add("--self-test", action="store_true", help="replay the bundle's golden vectors first; alone: only that")


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--max-frames", type=count, metavar="N", help="end after so many frames")
    add_supervision_options(group)
    add("--quiet", action="store_true", help="no progress and no summary, only events, warnings and errors")
