"""Drives a report page in Chromium, for the tests of the report."""

from __future__ import annotations

import base64
import importlib.util
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
--disable-dev-shm-usage --hide-scrollbars""".split()
LEFT, RIGHT, TAB = "\ue012", "\ue014", "\ue004"


def why_not() -> str:
    """Why no browser can be started here, "" if one can."""
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        return "needs chromium and chromedriver on the PATH (Debian: chromium-driver)"
    return "" if importlib.util.find_spec("selenium") else "needs selenium"


def start(profile: Path):
    """A headless Chromium that records its console and every request."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


class Viewer:
    """A loaded page, with the few things that the tests ask of it."""

    def __init__(self, browser, path, width=1200, scheme="light"):
        self.browser, self.folder = browser, path.parent / "gallery"
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get_log("browser")  # reading a log empties it
        browser.get_log("performance")
        browser.get(path.as_uri())
        self.wait_for(0)

    def run(self, code, *values):
        return self.browser.execute_script(code, *values)

    def wait_for(self, index):
        code = """const [index, done] = arguments;
        (function look() {
          const ready = document.getElementById("canvas").dataset.drawn === String(index);
          if (ready) done(true); else setTimeout(look, 10);
        })();"""
        self.browser.set_script_timeout(10)
        self.browser.execute_async_script(code, index)

    def press(self, *keys):
        for key in keys:
            self.browser.find_element("tag name", "body").send_keys(key)

    def go_to(self, index):
        for step in range(1, index + 1):
            self.press(RIGHT)
            self.wait_for(step)

    def set(self, layers, style="fill", opacity=100):
        """Shows only these layers, all in one style."""
        code = """const [layers, style, opacity, done] = arguments;
        const tell = (node, value, event) => {
          node.value = value;
          node.dispatchEvent(new Event(event, { bubbles: true }));
        };
        for (const button of document.querySelectorAll("[data-layer]")) {
          const on = layers.includes(button.dataset.layer);
          if ((button.getAttribute("aria-pressed") === "true") !== on) button.click();
        }
        document.querySelectorAll("[data-style]").forEach((node) => tell(node, style, "change"));
        tell(document.getElementById("opacity"), opacity, "input");
        setTimeout(done, 0);"""
        self.browser.execute_async_script(code, list(layers), style, opacity)

    def pixels(self):
        """The canvas as uint8 (H * s, W * s, 3)."""
        code = """const c = document.getElementById("canvas");
        const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        let text = "";
        for (const value of data) text += String.fromCharCode(value);
        return [c.width, c.height, btoa(text)];"""
        width, height, text = self.run(code)
        flat = np.frombuffer(base64.b64decode(text), np.uint8)
        return flat.reshape(height, width, 4)[..., :3]

    def middles(self):
        """The canvas at the middle of each pixel of the image, (H, W, 3), and all of it in
        blocks, (H, W, s, s, 3)."""
        pixels = self.pixels()
        scale = pixels.shape[0] // 64
        blocks = pixels.reshape(64, scale, 64, scale, 3).swapaxes(1, 2)
        return blocks[:, :, scale // 2, scale // 2], blocks

    def file(self, name):
        return np.asarray(Image.open(self.folder / name))

    def errors(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]
