"""The page in a real Chromium: pictures move, states change, a lost device is told, and a phone shows all of it."""

from __future__ import annotations

import threading
import time

import pytest

from chromium import Browser, chromium_program
from cvforge_edge.draw import class_color
from cvforge_edge.status import Gauge, RunStatus, StatusBoard
from cvforge_edge.web.address import WebAddress, listen
from cvforge_edge.web.sink import WebSink
from web_scene import SceneCamera, run_scene

pytestmark = pytest.mark.skipif(chromium_program() is None, reason="needs a browser: apt-get install chromium")
NASTY_NAME = (
    '<img src=x onerror=alert(1)> & "door" rtsp://u:***@192.168.100.200:8554/a/very/long/path/without/any/space'
)
TOKEN = "a-token-of-29-characters-long"
UNREACHABLE = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED")


class Scene:
    """A run with a page that can be stopped and begun again on the same port."""

    def __init__(self, *names: str, token: str | None = None, port: int = 0, sinks=()) -> None:
        self.cameras = [SceneCamera(name, seed=number) for number, name in enumerate(names)]
        now = time.time(), time.monotonic()
        board = StatusBoard(
            RunStatus(model="street", version=3, backend="litert", started_unix_s=now[0], started_s=now[1])
        )
        self.page = WebSink(board, listener=listen(WebAddress("127.0.0.1", port)), cameras=len(names), token=token)
        self.stop = threading.Event()
        options = {"board": board, "stop": self.stop}
        self.thread = threading.Thread(target=run_scene, args=(self.cameras, [self.page, *sinks]), kwargs=options)
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.page.url.rstrip("/").rpartition(":")[2])

    def end(self) -> None:
        self.stop.set()
        self.thread.join()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser") / "profile") as made:
        yield made


@pytest.fixture
def browser(one_browser):
    one_browser.open("about:blank")
    one_browser.complaints.clear()
    one_browser.resize(1280, 900)
    return one_browser


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


PICTURE_SHOWN = "!!document.querySelector('.picture') && document.querySelector('.picture').naturalWidth === 640"


def test_the_page_shows_moving_pictures_figures_graphs_and_events(browser):
    with Scene("door", "yard") as scene:
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        first = browser.evaluate("document.querySelector('.picture').src")
        browser.wait_for(f"document.querySelector('.picture').src !== {first!r}")
        assert browser.evaluate("[...document.querySelectorAll('.camera h2')].map(h => h.textContent)") == [
            "door",
            "yard",
        ]
        assert browser.evaluate(text("#model")) == "street · version 3"
        browser.wait_for("document.querySelectorAll('#events li').length > 0")
        assert "line crossed" in browser.evaluate(text("#events")) or "zone entered" in browser.evaluate(
            text("#events")
        )
        browser.wait_for("[...document.querySelectorAll('.graph path')].every(p => p.getAttribute('d').includes('L'))")
        assert browser.evaluate("document.querySelectorAll('.graph path').length") == 4
        assert browser.evaluate("document.querySelectorAll('#stages tbody tr').length") == 6
        frames = int(browser.evaluate(text("[data-figure=frames]")))
        browser.wait_for(f"Number({text('[data-figure=frames]')}) > {frames}")
        assert browser.evaluate("document.getElementById('notice').hidden")
        assert browser.evaluate(text("#overall .word")) == "running"
        assert browser.complaints == []


def test_the_picture_holds_boxes_in_the_colours_of_their_classes(browser):
    with Scene("door") as scene:
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        blue, green, red = class_color(0)
        script = f"""(() => {{
          const image = document.querySelector('.picture');
          const canvas = Object.assign(document.createElement('canvas'), {{width: 640, height: 360}});
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          const data = context.getImageData(0, 0, 640, 360).data;
          let found = 0;
          for (let i = 0; i < data.length; i += 4)
            found += Math.abs(data[i] - {red}) + Math.abs(data[i+1] - {green}) + Math.abs(data[i+2] - {blue}) < 60;
          return found > 100;
        }})()"""
        browser.wait_for(script)


def test_a_lost_camera_looks_lost_and_comes_back(browser):
    with Scene("door", "yard") as scene:
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        browser.wait_for("[...document.querySelectorAll('.camera .word')].every(w => w.textContent === 'live')")
        scene.cameras[1].state = "lost"
        yard = "document.querySelectorAll('.camera')[1]"
        browser.wait_for(f"{yard}.querySelector('.word').textContent === 'lost'")
        browser.wait_for(f"{yard}.classList.contains('stale')")
        assert "grayscale(1)" in browser.evaluate(f"getComputedStyle({yard}.querySelector('.picture')).filter")
        browser.wait_for(f"/^Not live: .* old$/.test({yard}.querySelector('.stale-note').textContent)")
        age = f"parseFloat({yard}.querySelector('.stale-note').textContent.split(' ')[2])"
        before = browser.evaluate(age)
        browser.wait_for(f"{age} > {before} + 1")
        assert browser.evaluate(text("#spoken")) == "yard: lost"
        assert not browser.evaluate("document.querySelectorAll('.camera')[0].classList.contains('stale')")
        scene.cameras[1].state = "live"
        browser.wait_for(f"{yard}.querySelector('.word').textContent === 'live' && !{yard}.classList.contains('stale')")
        scene.cameras[0].state = scene.cameras[1].state = "stalled"
        browser.wait_for("!document.getElementById('notice').hidden")
        assert browser.evaluate(text("#notice")) == "Trouble on the device: no camera is live (stalled)."
        assert browser.complaints == []


class DriftingSink:
    """Has the numbers of evidence and of a broker."""

    levels = {"door": {"brightness": 0.0, "objects": 0.0}, "yard": {"brightness": 1.0, "label_share": 2.0}}

    def write(self, result) -> None:
        pass

    def close(self) -> None:
        pass

    def summary(self) -> str:
        return "mqtt://broker/site: 12 sent, 5 waiting, 0 dropped, 0 refused"

    def gauges(self) -> tuple[Gauge, ...]:
        return tuple(
            Gauge("cvforge_drift_level", "Level.", value, (("source", source), ("quantity", quantity)))
            for source, levels in self.levels.items()
            for quantity, value in levels.items()
        )


def test_numbers_of_outputs_drift_and_hung_drivers_are_where_a_person_looks(browser):
    with Scene("door", "yard", sinks=[DriftingSink()]) as scene:
        scene.cameras[1].hanging = 2
        browser.open(scene.page.url)
        browser.wait_for("document.querySelectorAll('#drift li').length === 2")
        lines = "[...document.querySelectorAll('#drift li')].map(l => [...l.children].map(c => c.textContent))"
        assert browser.evaluate(lines) == [["door", "ok"], ["yard: brightness, label share", "drift"]]
        colours = "[...document.querySelectorAll('#drift .badge')].map(b => getComputedStyle(b).color)"
        assert len(set(browser.evaluate(colours))) == 2
        assert "12 sent, 5 waiting" in browser.evaluate(text("#outputs"))
        hung = "[...document.querySelectorAll('[data-figure=hanging]')].map(f => f.checkVisibility() && f.textContent)"
        assert browser.evaluate(hung) == [False, "2"]
        assert browser.complaints == []
    with Scene("door") as scene:
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        assert browser.evaluate("document.getElementById('drift').hidden")


def test_a_device_that_is_gone_is_told_at_once_and_found_again(browser):
    with Scene("door") as scene:
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        browser.wait_for(f"{text('.camera .word')} === 'live'")
        port = scene.port
    browser.wait_for("document.getElementById('notice').textContent.startsWith('The device does not answer')")
    assert browser.evaluate(text(".camera .word")) == "was live"
    assert browser.evaluate(text("#overall .word")) == "no answer"
    assert browser.evaluate(text("#spoken")) == "The device does not answer"
    browser.wait_for("document.querySelector('.camera').classList.contains('stale')")
    with Scene("door", "yard", port=port):
        browser.wait_for(
            "document.getElementById('notice').hidden && document.querySelectorAll('.camera').length === 2"
        )
        browser.wait_for("[...document.querySelectorAll('.picture')].every(p => p.naturalWidth === 640)")
        browser.wait_for("document.querySelectorAll('.stale').length === 0")
    assert [line for line in browser.complaints if not any(word in line for word in UNREACHABLE)] == []


@pytest.mark.parametrize("width", [320, 360, 768, 1280, 1920])
def test_no_width_scrolls_sideways_and_names_are_text(browser, width):
    with Scene(NASTY_NAME, "b", "c") as scene:
        browser.resize(width, 740, phone=width < 500)
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        browser.wait_for("document.querySelectorAll('#events li').length > 0")
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.evaluate(text(".camera h2")) == NASTY_NAME
        assert browser.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        assert browser.evaluate("document.querySelector('.picture').getBoundingClientRect().width") > min(
            width * 0.7, 270
        )
        assert browser.complaints == []


def test_the_keyboard_reaches_everything_and_pictures_have_words(browser):
    with Scene("door", "yard") as scene:
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        browser.wait_for("document.querySelectorAll('#events li').length > 0")
        browser.press("Tab", 9)
        assert browser.evaluate("document.activeElement.className") == "skip"
        reached = []
        for _ in range(6):
            browser.press("Tab", 9)
            reached.append(browser.evaluate("document.activeElement.className || document.activeElement.id"))
        assert reached[:5] == ["save", "large", "save", "large", "events"]
        browser.evaluate("document.querySelector('.large').focus()")
        browser.press("Enter", 13)
        assert browser.evaluate("document.querySelector('.large').getAttribute('aria-pressed')") == "true"
        assert browser.evaluate("document.querySelector('.camera').classList.contains('wide')")
        assert browser.evaluate(
            "[...document.images].filter(i => i.className === 'picture').every(i => i.alt.length > 10)"
        )
        assert browser.evaluate(
            "[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label').length > 10)"
        )
        assert browser.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_in_light_and_dark(browser, dark):
    with Scene("door") as scene:
        browser.resize(1280, 900, dark=dark)
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        ratios = browser.evaluate(CONTRASTS)
        assert min(ratios.values()) >= 4.5, ratios  # WCAG 2.1, 1.4.3
        assert len(ratios) == 7
        paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(16, 19, 23)" if dark else "rgb(243, 245, 247)")


CONTRASTS = """(() => {
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const probe = document.body.appendChild(document.createElement('i'));
  const seen = (name) => { probe.style.color = `var(--${name})`; return luminance(getComputedStyle(probe).color); };
  const card = seen('card');
  const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const names = ['ink', 'quiet', 'accent', 'second', 'good', 'warn', 'bad'];
  return Object.fromEntries(names.map((name) => [name, ratio(seen(name), card)]));
})()"""


def test_logging_in_by_form_and_by_link(browser):
    with Scene("door", token=TOKEN) as scene:
        browser.open(scene.page.url)
        browser.wait_for("location.href.endsWith('/login?again') && !!document.getElementById('token')")
        assert browser.evaluate("document.getElementById('wrong').hidden")
        browser.evaluate("document.getElementById('token').value = 'no'; document.querySelector('button').click()")
        browser.wait_for("location.search === '?wrong' && !document.getElementById('wrong').hidden")
        browser.evaluate(
            f"document.getElementById('token').value = {TOKEN!r}; document.querySelector('button').click()"
        )
        browser.wait_for(PICTURE_SHOWN)
        assert browser.evaluate("document.cookie") == ""  # scripts cannot read it
        assert browser.complaints == []


def test_a_link_with_the_token_logs_in_and_forgets_it(browser):
    with Scene("door", token=TOKEN) as scene:
        browser.open(f"{scene.page.url}login#{TOKEN}")
        browser.wait_for(PICTURE_SHOWN)
        assert TOKEN not in browser.evaluate("location.href")
        assert browser.complaints == []


def test_a_page_nobody_sees_asks_for_no_pictures(browser):
    with Scene("door") as scene:
        browser.open(scene.page.url)
        browser.wait_for(PICTURE_SHOWN)
        browser.evaluate("document.querySelector('figure').style.display = 'none'")
        browser.wait_for("new Promise(done => setTimeout(() => done(true), 500))")
        before = scene.page._site.encoded
        frames = int(browser.evaluate(text("[data-figure=frames]")))
        browser.wait_for(f"Number({text('[data-figure=frames]')}) > {frames} + 15")
        assert scene.page._site.encoded - before <= 1
