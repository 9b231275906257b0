"""Who may see the page: addresses, tokens, sessions and names of hosts."""

from __future__ import annotations

import socket
import time

import pytest

import cvforge_edge.web.access as access
import cvforge_edge.web.session as session
from cvforge_edge.errors import UsageError
from cvforge_edge.web.access import Access, given_token, make_token
from cvforge_edge.web.address import WebAddress, is_local_name, is_loopback, listen, page_url, parse_address
from cvforge_edge.web.http_message import Request

TOKEN = "a-token-of-29-characters-long"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(access, "WRONG_TOKEN_PAUSE_S", 0.0)


def request(**headers: str) -> Request:
    return Request("GET", "/", "", headers, True)


def gate(token: str | None = TOKEN, *, port: int = 8080, local: bool = False) -> Access:
    return Access(token, port=port, local_names_only=local)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("9000", "127.0.0.1", 9000),
        ("camera.local:0", "camera.local", 0),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_addresses_are_read(text, host, port):
    assert parse_address(text) == WebAddress(host, port)


@pytest.mark.parametrize("text", ["", ":8080", "localhost", "localhost:", "a:65536", "a:-1", "::1:80", "[]:80", "a:٣"])
def test_a_bad_address_says_what_is_accepted(text):
    with pytest.raises(UsageError, match="accepted HOST:PORT|needs brackets") as caught:
        parse_address(text)
    assert caught.value.exit_code == 2


def test_a_taken_port_and_a_strange_host_are_usage_errors():
    with listen(WebAddress("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="take another port"):
        listen(WebAddress("127.0.0.1", taken.getsockname()[1]))
    with pytest.raises(UsageError, match="cannot listen there"):
        listen(WebAddress("192.0.2.77", 0))
    with pytest.raises(UsageError, match="the host is unknown"):
        listen(WebAddress("no-such-host.invalid", 0))


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("::1", True), ("::", False)]
)
def test_only_loopback_sockets_count_as_loopback(host, loopback):
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        listener = listen(WebAddress(host, 0))
    except UsageError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    with listener:
        assert is_loopback(listener) == loopback
        url = page_url(listener)
        assert url.startswith("http://")
        assert "0.0.0.0" not in url
        assert "[::]" not in url


def test_names_that_another_site_could_own_are_refused():
    local = ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080", "[::1]"]
    foreign = [
        "",
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "192.168.0.7:80",
    ]
    assert [name for name in [*local, *foreign] if is_local_name(name)] == local
    assert gate(local=True).names_this_device(request(host="localhost:8080"))
    assert not gate(local=True).names_this_device(request(host="evil.example"))
    assert not gate(local=True).names_this_device(request())
    assert gate(local=False).names_this_device(request(host="camera.local"))


def test_the_right_token_is_let_in_and_others_are_counted(caplog):
    door = gate()
    assert door.allows(request(authorization=f"Bearer {TOKEN}"), "10.0.0.7")
    assert door.allows(request(authorization=f"bearer  {TOKEN}"), "10.0.0.7")
    assert door.refused == 0
    for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer ", "Bearer \udc80", TOKEN):
        assert not door.allows(request(authorization=wrong), "10.0.0.7")
    assert not door.allows(request(), "10.0.0.7")
    assert door.refused == 4  # those that tried a token
    assert "wrong token from 10.0.0.7" in caplog.text
    assert len(caplog.records) == 1  # not a line for each guess
    assert TOKEN not in caplog.text


def test_without_a_token_everybody_may_look():
    assert gate(None).allows(request(), "127.0.0.1")


def test_a_session_lasts_its_time_and_belongs_to_its_port_and_token(monkeypatch):
    door = gate()
    name, header = door.session_header()
    assert name == "Set-Cookie"
    assert header.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict")
    assert TOKEN not in header
    cookie = header.split(";")[0]
    assert door.allows(request(cookie=f"other=1; {cookie}"), "x")
    assert not gate(port=8081).allows(request(cookie=cookie), "x")
    assert not gate(TOKEN + "2").allows(request(cookie=cookie), "x")
    value = cookie.partition("=")[2]
    boot, begun, ends, signature = value.split(".")
    forged = [
        f"{boot}.{int(begun) + 1}.{ends}.{signature}",
        f"{boot}.{begun}.{int(ends) + 1}.{signature}",
        f"{begun}.{ends}",
    ]
    for broken in (*forged, "", ".", "...", f"{value}é", f"{boot}.{begun}.{ends}.é", "9999999999.", "\udc80." * 3):
        assert not door.allows(request(cookie=f"cvforge_8080={broken}"), "x")
    after_s = time.monotonic() + session.SESSION_S + 5
    monkeypatch.setattr(session.time, "monotonic", lambda: after_s)
    assert not door.allows(request(cookie=cookie), "x")


YEAR_S = 365 * 86400.0


@pytest.mark.parametrize("years", [-55, -20, 20, 55])
def test_a_session_outlives_a_clock_that_is_set_and_the_restart_of_the_program(monkeypatch, years):
    monkeypatch.setattr(session.time, "time", lambda: 1.8e9)
    cookie = gate().session_header()[1].split(";")[0]
    monkeypatch.setattr(session.time, "time", lambda: 1.8e9 + years * YEAR_S)
    assert gate().allows(request(cookie=cookie), "x")


@pytest.mark.parametrize(
    ("days", "valid"), [(0.0, True), (29.9, True), (30.1, False), (-0.1, False), (3650.0, False), (-3650.0, False)]
)
def test_after_a_reboot_the_clock_decides_and_no_session_is_longer_than_a_month(monkeypatch, tmp_path, days, valid):
    monkeypatch.setattr(session.time, "time", lambda: 1.8e9)
    cookie = gate().session_header()[1].split(";")[0]
    (tmp_path / "boot_id").write_text("another")
    for other in (tmp_path / "boot_id", tmp_path / "absent"):
        monkeypatch.setattr(session, "BOOT_ID", other)
        monkeypatch.setattr(session.time, "time", lambda: 1.8e9 + days * 86400)
        assert gate().allows(request(cookie=cookie), "x") == valid


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared = []
    compare = access.hmac.compare_digest
    monkeypatch.setattr(access.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))
    assert not gate().is_token("guess", "x")
    assert compared == [(b"guess", TOKEN.encode())]


def test_a_made_token_is_long_and_new():
    assert len({make_token() for _ in range(100)}) == 100
    assert len(make_token()) == 22


def test_a_token_comes_from_the_file_before_the_environment(tmp_path, caplog):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert given_token(str(file), {"CVFORGE_WEB_TOKEN": "b" * 20}) == TOKEN
    assert caplog.text == ""
    file.chmod(0o644)
    assert given_token(str(file), {}) == TOKEN
    assert "every user of this device can read the token" in caplog.text
    assert given_token(None, {"CVFORGE_WEB_TOKEN": "b" * 20}) == "b" * 20
    assert given_token(None, {}) is None


@pytest.mark.parametrize("token", ["", "short", "with spaces in the middle", "ä" * 20, "x" * 257, "two\nlines" * 3])
def test_a_weak_token_is_refused_without_being_shown(token, tmp_path):
    (tmp_path / "token").write_text(token)
    for file, environment in ((None, {"CVFORGE_WEB_TOKEN": token}), (str(tmp_path / "token"), {})):
        with pytest.raises(UsageError, match="accepted 16 to 256") as caught:
            given_token(file, environment)
        assert token == "" or token not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        given_token(str(tmp_path / "absent"), {})
