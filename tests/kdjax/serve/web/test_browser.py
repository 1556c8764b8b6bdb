"""The page in a real browser: files are given to it, judged and shown, and nothing goes wrong or elsewhere."""

import pytest

from kdjax.serve.options import Options

pytest.importorskip("uvicorn")

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("width", [1200, 375])
def test_a_file_is_judged_on_the_page(
    browser, serving, make_detector, heads, write_clip, tmp_path, width
):
    clip = write_clip(tmp_path / "<b>clip.mp4", heads(0))
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(b"no video")
    with serving(make_detector(), options=Options(any_quality=width < 600)) as client:
        here = f"http://127.0.0.1:{client.port}/"
        browser.open(here, width=width)
        browser.until("document.querySelector('#detector').textContent.includes('net')")
        assert browser.run("document.querySelector('#any_quality').checked") == (width < 600)
        browser.give("#file", clip, noise)
        browser.until("document.querySelectorAll('.job iframe').length === 2")
        told = browser.run("[...document.querySelectorAll('.job')].map((each) => each.innerText)")
        by_name = {each.splitlines()[0]: each for each in told}
        assert "cannot say" in by_name["noise.mp4"]
        assert "score" in by_name["<b>clip.mp4"]
        assert not browser.run("document.querySelector('.job b')")
        # nothing lies beside the screen
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.run("document.querySelector('#said').textContent").count(":") == 1
        assert browser.errors == []
        assert all(each.startswith((here, "data:")) for each in browser.requests)


def test_it_is_used_by_keyboard(browser, serving, make_detector):
    with serving(make_detector()) as client:
        browser.open(f"http://127.0.0.1:{client.port}/")
        seen = []
        for _ in range(5):
            browser.press("Tab")
            seen.append(
                browser.run("document.activeElement.id || document.activeElement.textContent")
            )
        assert seen[:4] == ["file", "any_quality", "cropped", "API"]
        assert browser.run(
            "[...document.querySelectorAll('input')].every((each) => each.labels.length)"
        )


def test_the_description_needs_no_script(browser, serving, make_detector):
    with serving(make_detector()) as client:
        browser.open(f"http://127.0.0.1:{client.port}/docs", width=375)
        assert browser.run("document.scripts.length") == 0
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.errors == []
