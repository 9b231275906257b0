"""What may be shown of addresses and pipelines: everything but the secrets in them."""

from __future__ import annotations

import pytest

from cvforge_edge.camera import open_source, without_password
from cvforge_edge.errors import SourceError, UsageError
from cvforge_edge.sinks.mqtt_settings import mqtt_settings
from cvforge_edge.sinks.webhook_settings import webhook_settings
from cvforge_edge.sources.reachable import unreachable_reason

SECRET = "geheim"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:geheim@10.0.0.7:554/a", "rtsp://admin:***@10.0.0.7:554/a"),
        ("http://:geheim@host/a@b", "http://:***@host/a@b"),
        ("http://admin:geh@geheim@host:80/x", "http://admin:***@host:80/x"),
        ("rtsp://admin:ge:geheim@[::1]:8554/x", "rtsp://admin:***@[::1]:8554/x"),
        ("rtsp://admin:geh/geheim@host/x", "rtsp://admin:***@host/x"),
        ("rtsp://admin:geh?geheim@host/x", "rtsp://admin:***@host/x"),
        ("rtsp://admin:geh#geheim@host/x", "rtsp://admin:***@host/x"),
        ("rtsp://admin:a://geheim@host/x", "rtsp://admin:***@host/x"),
        ("rtsp://admin%3Ageheim@host/x", "rtsp://admin%3A***@host/x"),
        ("rtsp://admin:geheim/main", "rtsp://admin:***/main"),
        ("rtmp://h/bcs?channel=0&user=admin&password=geheim", "rtmp://h/bcs?channel=0&user=admin&password=***"),
        ("http://h/v.cgi?loginuse=a&loginpas=geheim&rate=0", "http://h/v.cgi?loginuse=a&loginpas=***&rate=0"),
        ("http://h/v?PWD=geheim&Usr=x", "http://h/v?PWD=***&Usr=x"),
        ("http://h/v?pass=a#geheim", "http://h/v?pass=***"),
        ("http://h/v?pass=a;b=geheim&c=1", "http://h/v?pass=***&c=1"),
        ("https://h/a.m3u8?access_token=geheim", "https://h/a.m3u8?access_token=***"),
        ("https://h/a?x=1&api-key=geheim#t", "https://h/a?x=1&api-key=***"),
        ("https://h/a?X-Amz-Signature=geheim&X-Amz-Expires=60", "https://h/a?X-Amz-Signature=***&X-Amz-Expires=60"),
        ("https://h/a?sig=geheim&Auth=geheim&client_secret=geheim", "https://h/a?sig=***&Auth=***&client_secret=***"),
        (
            "rtsp://h:554/user=admin_password=geheim_channel=2_stream=0.sdp?real_stream",
            "rtsp://h:554/user=admin_password=***_channel=2_stream=0.sdp?real_stream",
        ),
        ("http://proxy:8080/?src=rtsp://a:geheim@cam/x&b=1", "http://proxy:8080/?src=rtsp://a:***@cam/x&b=1"),
        ("http://p/?src=rtsp%3A%2F%2Fa%3Ageheim%40cam", "http://p/?src=rtsp%3A%2F%2Fa%3A***%40cam"),
        ("admin:geheim@10.0.0.7/main", "admin:***@10.0.0.7/main"),
        ("rtsp:/admin:geheim@10.0.0.7/main", "rtsp:***@10.0.0.7/main"),
        ("gst:rtspsrc user-pw=geheim ! x", "gst:rtspsrc user-pw=*** ! x"),
        ("gst:rtspsrc user-pw = geheim ! x", "gst:rtspsrc user-pw = *** ! x"),
        ("gst:rtspsrc user-pw= geheim ! x", "gst:rtspsrc user-pw= *** ! x"),
        ('gst:rtspsrc user-pw="a geheim" ! x', "gst:rtspsrc user-pw=*** ! x"),
        (r'gst:rtspsrc user-pw="a\"b geheim" ! x', "gst:rtspsrc user-pw=*** ! x"),
        ("gst:rtspsrc user-pw='a geheim' ! x", "gst:rtspsrc user-pw=*** ! x"),
        (r"gst:rtspsrc user-pw=a\ geheim ! x", "gst:rtspsrc user-pw=*** ! x"),
        ("gst:rtspsrc user-pw=a&geheim ! x", "gst:rtspsrc user-pw=*** ! x"),
        ('gst:rtspsrc "user-pw=a geheim" ! x', 'gst:rtspsrc "user-pw=***" ! x'),
        ("gst:rtspsrc user-pw=(string)geheim ! x", "gst:rtspsrc user-pw=*** ! x"),
        (
            "gst:x password=geheim proxy-pw=geheim passphrase=geheim ! y",
            "gst:x password=*** proxy-pw=*** passphrase=*** ! y",
        ),
        ('gst:rtspsrc location="rtsp://a:geheim@h/x y" ! z', 'gst:rtspsrc location="rtsp://a:***@h/x y" ! z'),
        ('gst:rtspsrc location="rtsp://a:b geheim@h/x" ! z', 'gst:rtspsrc location="rtsp://a:***@h/x" ! z'),
        ("gst:souphttpsrc location=http://h/?token=geheim ! z@y", "gst:souphttpsrc location=http://h/?token=*** ! z@y"),
        (
            r'gst:souphttpsrc extra-headers="h,Authorization=(string)\"Basic geheim\"" ! x',
            'gst:souphttpsrc extra-headers="h,Authorization=*** ! x',
        ),
    ],
)
def test_secrets_in_what_names_a_source_are_never_shown(text, shown):
    assert without_password(text) == shown
    assert SECRET in text
    assert SECRET not in shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7:554/a",
        "rtsp://[fe80::1]:554/a@b",
        "udp://@239.0.0.1:1234",
        "http://host:8080/user@site/x?channel=1&stream=2",
        "0",
        "/dev/video0",
        "test:640x480@30",
        "photos/a:b.jpg",
        "gst:v4l2src device=/dev/video0 ! video/x-raw,width=640 ! videoconvert",
        'gst:rtspsrc location="rtsp://h/a" latency=0 ! rtph264depay ! "video/x-h264, width=(int)640" ! x@y',
        "gst:a 'unbalanced ! b",
    ],
)
def test_what_holds_no_secret_is_shown_as_it_is(text):
    assert without_password(text) == text


def test_long_addresses_take_no_longer_than_their_length():
    long = "a" * 200_000
    assert without_password(f"http://h/{long}?{long}=1&pass={long}") == f"http://h/{long}?{long}=1&pass=***"
    assert without_password(f"gst:{long} {long}=1 pass={long}") == f"gst:{long} {long}=1 pass=***"


@pytest.mark.parametrize("text", ["admin:geheim@host/main", "rtsps:/admin:geheim@host", "foo://admin:geheim@host"])
def test_text_that_is_no_source_is_refused_without_its_password(text):
    with pytest.raises(SourceError) as caught:
        open_source(text)
    assert SECRET not in str(caught.value)
    assert "***@host" in str(caught.value)


@pytest.mark.parametrize(
    "address", ["rtsp://admin:geheim/x@host/a", "rtsp://admin:geheim[x@host/a", "rtsp://admin:geheim℀@host/a"]
)
def test_address_that_cannot_be_read_is_refused_without_its_password(address):
    reason = unreachable_reason(address)
    assert "no host and port" in reason
    assert "/ as %2F" in reason
    assert SECRET not in reason


@pytest.mark.parametrize(
    "address", ["mqtt://user:geheim/x@host/topic", "mqtt://user:geheim[@host/topic", "user:geheim@host/topic"]
)
def test_broker_that_cannot_be_read_is_refused_without_its_password(address):
    with pytest.raises(UsageError, match="accepted mqtt://") as caught:
        mqtt_settings(address, password=None)
    assert SECRET not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("address", ["https://user:geheim/x@host/hook", "https://user:geheim[@host/hook"])
def test_hook_that_cannot_be_read_is_refused_without_its_password(address):
    with pytest.raises(UsageError, match="accepted http://") as caught:
        webhook_settings(address, token=None, signing_key=None)
    assert SECRET not in str(caught.value)
